"""Tables of governance: policies, approvals, delegations, agents, grants, holds, freezes, webhooks."""

from .agents import Agent, AgentKey
from .approvals import ApprovalRequest, Comment, Decision
from .breakglass import BreakGlass
from .delegations import Delegation
from .freezes import Freeze, FreezeException
from .grants import Grant, GrantUse
from .holds import FileHold, Hold
from .policies import Assessment, Policy
from .webhooks import Delivery, Webhook

__all__ = [
    "Agent",
    "AgentKey",
    "ApprovalRequest",
    "Assessment",
    "BreakGlass",
    "Comment",
    "Decision",
    "Delegation",
    "Delivery",
    "FileHold",
    "Freeze",
    "FreezeException",
    "Grant",
    "GrantUse",
    "Hold",
    "Policy",
    "Webhook",
]
