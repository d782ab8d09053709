"""karmasakshi-protocol: the refund of its README, with its three SQLite stores instead of those in memory.

prepare, seal, authorize, commit, verify; the effect is its own simulator in memory, as in the README.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from karmasakshi.adapters.payment_simulator import PaymentRequest, PaymentSimulator, PaymentSimulatorAdapter
from karmasakshi.audit.journal import AuditJournal
from karmasakshi.audit.sqlite_backend import SQLiteAuditBackend
from karmasakshi.crypto import Keyring, generate_signing_key
from karmasakshi.domain.common import Principal
from karmasakshi.domain.enums import PrincipalType
from karmasakshi.engine import EngineContext, KarmaSakshiEngine
from karmasakshi.grants.model import ScopeConstraints
from karmasakshi.stores.lifecycle_sqlite import SQLiteLifecycleStore
from karmasakshi.stores.sqlite import SQLiteGrantStore
from line import serve


def prepare(home: Path):
    """The engine of the README on files, and one refund from beginning to end."""
    key = generate_signing_key("issuer-1")
    grants, audit = SQLiteGrantStore(home / "grants.sqlite3"), SQLiteAuditBackend(home / "audit.sqlite3")
    states = SQLiteLifecycleStore(home / "states.sqlite3")
    engine = KarmaSakshiEngine(
        EngineContext(
            keyring=Keyring([key.verification_key()]),
            grant_store=grants,
            audit=AuditJournal(audit),
            lifecycle_store=states,
        )
    )
    simulator = PaymentSimulator()
    simulator.fund_account("treasury", 10**12)
    adapter = PaymentSimulatorAdapter(simulator)
    agent = Principal(principal_id="refund-agent", principal_type=PrincipalType.AGENT)
    human = Principal(principal_id="finance-approver", principal_type=PrincipalType.HUMAN)

    def live(number: int) -> None:
        request = PaymentRequest(
            actor=agent,
            principal=human,
            source_account="treasury",
            beneficiary="customer-priya",
            amount_minor_units=100,
            currency="INR",
            reference=f"refund-{number}",
            idempotency_key=f"refund-{number}",
        )
        sealed = engine.seal(engine.prepare(adapter, request, context=None), key)
        now = datetime.now(UTC)
        grant = engine.authorize(
            sealed,
            issuer=human,
            subject=agent,
            audience=("payment.simulator",),
            allowed_effect_types=("payment.transfer",),
            scope=ScopeConstraints(recipients=("customer-priya",)),
            not_before=now,
            expires_at=now + timedelta(minutes=5),
            signing_key=key,
        )
        result = engine.commit(sealed, grant, adapter, context=None)
        proof = engine.verify(sealed.manifest, result, adapter, context=None)
        assert result.success
        assert proof.matched_expected

    return live, [grants._conn, audit._conn, states._conn]


serve(prepare)
