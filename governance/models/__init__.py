"""Tables of governance: policies, approvals, agents, holds, webhooks."""

from .agents import Agent
from .approvals import ApprovalRequest, Decision
from .holds import Hold
from .policies import Policy
from .webhooks import Delivery, Webhook

__all__ = ["Agent", "ApprovalRequest", "Decision", "Delivery", "Hold", "Policy", "Webhook"]
