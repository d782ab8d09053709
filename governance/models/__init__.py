"""Tables of governance: policies, approvals, agents, grants, holds, freezes, webhooks."""

from .agents import Agent, AgentKey
from .approvals import ApprovalRequest, Decision
from .breakglass import BreakGlass
from .freezes import Freeze, FreezeException
from .grants import Grant, GrantUse
from .holds import Hold
from .policies import Assessment, Policy
from .webhooks import Delivery, Webhook

__all__ = [
    "Agent",
    "AgentKey",
    "ApprovalRequest",
    "Assessment",
    "BreakGlass",
    "Decision",
    "Delivery",
    "Freeze",
    "FreezeException",
    "Grant",
    "GrantUse",
    "Hold",
    "Policy",
    "Webhook",
]
