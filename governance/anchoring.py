"""The webhook anchor: every signed head of the log is told to an address outside, which keeps it.

It hears of heads from the mesh, so that none is left out, a receiver that is down delays nobody else, and who has
fallen behind can be seen. The note is signed with the log's key: that is all a receiver needs to believe it.
"""

from __future__ import annotations

import structlog
from django.conf import settings

from auditlog import anchors, canonical, entries, notes
from auditlog.models import Checkpoint, Entry
from verification import outgoing

logger = structlog.get_logger(__name__)

DEADLINE_SECONDS = 10.0


class NotTold(Exception):
    """The receiver did not take the head; the mesh tries again."""


def tell(entry: Entry) -> None:
    """Tell LOG_ANCHOR_URL, if there is one, of the head a fact `auditlog.checkpoint_signed` is about.

    Raises NotTold, and outgoing's UrlNotAllowed and NoAnswer.
    """
    url = settings.LOG_ANCHOR_URL
    if not url:
        return
    said = entries.data(entry)
    signed = Checkpoint.objects.filter(size=said["size"], root=bytes.fromhex(said["root"]))
    checkpoint = signed.order_by("-pk").first()
    if checkpoint is None:
        # It was deleted: `integrity` names that, and later heads must not wait for it.
        logger.error("checkpoint_gone", size=said["size"])
        return
    head = notes.Head(entry.subject_id, checkpoint.size, bytes(checkpoint.root))
    anchor = anchors.Anchor(head, checkpoint.note, canonical.stamp(checkpoint.signed_at))
    answer = outgoing.request(
        "POST",
        url,
        json=anchor.as_json(),
        deadline_seconds=DEADLINE_SECONDS,
        max_bytes=1024,
        prefixes=[url],
        trusted=True,
    )
    if not 200 <= answer.status < 300:
        raise NotTold(f"The anchor answered {answer.status} to the head of size {checkpoint.size}.")
