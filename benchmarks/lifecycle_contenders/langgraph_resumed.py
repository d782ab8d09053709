"""langgraph: a graph that pauses for a person, and goes on with their answer; checkpoints by its SQLite saver.

The approval of its documentation on interrupts, with a node that does nothing and one that verifies it.
"""

import sqlite3
from pathlib import Path
from typing import TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from line import serve


class State(TypedDict, total=False):
    """What travels through the graph."""

    action: str
    approved: bool
    done: bool
    verified: bool


def prepare(home: Path):
    """The graph, and one thread of it from beginning to end."""
    connection = sqlite3.connect(home / "checkpoints.sqlite", check_same_thread=False)
    builder = StateGraph(State)
    builder.add_node("approve", lambda state: {"approved": interrupt({"action": state["action"]})})
    builder.add_node("execute", lambda state: {"done": True})
    builder.add_node("verify", lambda state: {"verified": state["done"]})
    builder.add_edge(START, "approve")
    builder.add_conditional_edges("approve", lambda state: "execute" if state["approved"] else END)
    builder.add_edge("execute", "verify")
    builder.add_edge("verify", END)
    graph = builder.compile(checkpointer=SqliteSaver(connection))

    def live(number: int) -> None:
        config = {"configurable": {"thread_id": str(number)}}
        graph.invoke({"action": "do nothing"}, config)
        ended = graph.invoke(Command(resume=True), config)
        assert ended["verified"]

    return live, [connection]


serve(prepare)
