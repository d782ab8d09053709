"""Which workers `up` starts: what the settings say becomes command lines, and nonsense is refused in words."""

import subprocess
import sys
from pathlib import Path

import pytest

from grace_site.supervision.supervisor import Plan, Supervisor
from grace_site.supervision.workers import Crew, parse
from tests.harness.processes import ROOT


@pytest.mark.parametrize(
    ("entries", "crews"),
    [
        (["executions", "default", "log"], [(("executions",), 2), (("default",), 2), (("log",), 1)]),
        (["executions:8"], [(("executions",), 8)]),
        (["default+executions:4", "log:1"], [(("default", "executions"), 4), (("log",), 1)]),
        ([], []),
    ],
)
def test_it_reads_crews(entries, crews):
    assert [(crew.queues, crew.processes) for crew in parse(entries, concurrency=2)] == crews


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        (["execution"], "none of"),
        (["default:0"], "from 1 to 256"),
        (["default:many"], "from 1 to 256"),
        (["default:"], None),
        (["log:2"], "one hand"),
        (["log+default"], "one hand"),
        (["default", "executions+default"], "default twice"),
        ([""], "none of"),
    ],
)
def test_it_refuses_what_makes_no_sense(entries, why):
    if why is None:
        assert parse(entries, concurrency=3)[0].processes == 3
        return
    with pytest.raises(ValueError, match=why):
        parse(entries, concurrency=3)


def plan(tmp_path: Path, *entries: str, beat: bool = True) -> Plan:
    return Plan(
        root=ROOT,
        var_dir=tmp_path,
        host="127.0.0.1",
        port=8000,
        public_url="http://localhost:8000",
        private_broker=True,
        pool_size=0,
        web_processes=1,
        workers=parse(entries, concurrency=2),
        beat=beat,
        structured=False,
    )


def test_up_starts_the_workers_that_the_settings_name(tmp_path):
    parts = {spec.name: spec.argv for spec in Supervisor(plan(tmp_path, "executions:6", "log"), print).parts()}
    assert set(parts) == {"web", "worker-executions", "worker-log", "beat"}
    argv = parts["worker-executions"]
    assert argv[argv.index("-Q") + 1] == "executions"
    assert argv[argv.index("-c") + 1] == "6"
    assert "solo" not in argv
    assert parts["worker-log"][-2:] == ("--pool", "solo")


def test_a_further_host_has_neither_beat_nor_log(tmp_path):
    parts = [spec.name for spec in Supervisor(plan(tmp_path, "default+executions:4", beat=False), print).parts()]
    assert parts == ["web", "worker-default-executions"]


def test_the_settings_are_read_from_the_environment(tmp_path):
    show = "from django.conf import settings; print(settings.WORKERS, settings.BEAT_ENABLED)"
    env = {"DJANGO_SETTINGS_MODULE": "grace_site.settings", "GRACE_ENV_FILE": "", "VAR_DIR": str(tmp_path)}

    def asked(**more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-c", show]
        return subprocess.run(argv, cwd=ROOT, env=env | more, capture_output=True, text=True, check=False)

    said = asked(WORKER_QUEUES="executions:5,log", BEAT_ENABLED="false")
    assert said.stdout.strip() == f"{(Crew(('executions',), 5), Crew(('log',), 1))} False", said.stderr
    assert "one hand" in asked(WORKER_QUEUES="log:3").stderr
