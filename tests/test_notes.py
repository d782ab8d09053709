"""Signed notes: an example of the specification, our own round trip, and everything that is not one."""

import pytest

from auditlog import notes

# From the documentation of golang.org/x/mod/sumdb/note.
GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

SIGNER = notes.Signer("example.org/log", bytes(range(32)))
HEAD = notes.Head("example.org/log", 3, b"r" * 32)


def test_it_signs_as_go_does() -> None:
    signer = notes.Signer.parse(GO_SKEY)
    assert signer.verifier.vkey == GO_VKEY
    text, _ = notes.split(GO_NOTE)
    assert signer.sign(text) == GO_NOTE


def test_it_verifies_what_go_signed() -> None:
    assert notes.verify(GO_NOTE, notes.Verifier.parse(GO_VKEY)) == GO_NOTE.partition("\n\n")[0] + "\n"


def test_keys_survive_the_way_through_text() -> None:
    assert notes.Signer.parse(SIGNER.skey + "\n") == SIGNER
    assert notes.Verifier.parse(SIGNER.verifier.vkey) == SIGNER.verifier


def test_a_checkpoint_survives_the_way_through_a_note() -> None:
    assert notes.open_checkpoint(SIGNER.sign(HEAD.text()), SIGNER.verifier) == HEAD


def test_lines_of_witnesses_are_left_alone() -> None:
    note = SIGNER.sign(HEAD.text())
    witness = notes.Signer("witness.example", bytes(32))
    line = witness.sign(HEAD.text()).splitlines()[-1] + "\n"
    assert notes.open_checkpoint(note + line, SIGNER.verifier) == HEAD
    assert notes.verify(note + line, witness.verifier) == HEAD.text()


def test_extension_lines_are_signed_and_read_over() -> None:
    note = SIGNER.sign(HEAD.text() + "an extension\n")
    assert notes.open_checkpoint(note, SIGNER.verifier) == HEAD


GOOD = SIGNER.sign(HEAD.text())


@pytest.mark.parametrize(
    "note",
    [
        GOOD.replace("\n3\n", "\n4\n"),
        GOOD.replace("cnJy", "c3Jy"),
        GOOD[:-1],
        GOOD + "trailing\n",
        GOOD.replace("— ", "- "),
        GOOD.replace("\n\n", "\n"),
        "",
        "\n\n",
        HEAD.text(),
        notes.Signer("example.org/log", bytes(32)).sign(HEAD.text()),
        notes.Signer("other", SIGNER.seed).sign(HEAD.text()),
        GOOD[:-6] + "AAA=\n",
        GOOD[:-6] + "!!!!\n",
        SIGNER.sign(notes.Head("other.example", 3, b"r" * 32).text()),
        SIGNER.sign("example.org/log\n03\ncnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=\n"),
        SIGNER.sign("example.org/log\n3\nc2hvcnQ=\n"),
        SIGNER.sign("example.org/log\n"),
    ],
)
def test_what_is_not_a_good_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(notes.NoteInvalid):
        notes.open_checkpoint(note, SIGNER.verifier)


@pytest.mark.parametrize(
    "key", ["", "a+b", "a+00000000+AAAA", GO_VKEY.replace("c74f20a3", "c74f20a4"), "x y" + GO_VKEY]
)
def test_what_is_not_a_key_is_refused(key: str) -> None:
    with pytest.raises(notes.NoteInvalid):
        notes.Verifier.parse(key)
    with pytest.raises(notes.NoteInvalid):
        notes.Signer.parse(key)


def test_what_cannot_be_signed_is_refused() -> None:
    for text in ("no newline", "bell \a\n"):
        with pytest.raises(notes.NoteInvalid):
            SIGNER.sign(text)
    with pytest.raises(notes.NoteInvalid):
        notes.Signer("with space", bytes(32)).sign("x\n")
