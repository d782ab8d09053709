"""Tables of governance: policies, approvals, agents, holds, webhooks."""

from .agents import Agent, AgentKey
from .approvals import ApprovalRequest, Decision
from .holds import Hold
from .policies import Assessment, Policy
from .webhooks import Delivery, Webhook

__all__ = [
    "Agent",
    "AgentKey",
    "ApprovalRequest",
    "Assessment",
    "Decision",
    "Delivery",
    "Hold",
    "Policy",
    "Webhook",
]
