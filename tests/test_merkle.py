"""RFC 6962 trees: known answers, proofs that verify, and tampered ones that do not."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditlog import merkle

# The leaves and roots of the tests of certificate-transparency-go.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def leaves(count: int) -> list[bytes]:
    return [merkle.leaf_hash(f"leaf {number}".encode()) for number in range(count)]


def hash_at(hashes: list[bytes]) -> merkle.HashAt:
    def found(node: merkle.Node) -> bytes:
        level, index = node
        row = hashes[index << level : (index + 1) << level]
        if len(row) != 1 << level:
            raise LookupError(node)
        return merkle.tile_root(b"".join(row), level)

    return found


def reference(hashes: list[bytes]) -> bytes:
    """The definition of RFC 6962, 2.1, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return sha256(b"\x01" + reference(hashes[:split]) + reference(hashes[split:])).digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in LEAVES[:size]]
    assert merkle.root_of(hashes).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert base64.b64encode(merkle.root_of([])) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


@given(st.integers(0, 300))
def test_roots_follow_the_definition(size: int) -> None:
    hashes = leaves(size)
    assert merkle.root_of(hashes) == reference(hashes) == merkle.root_at(size, hash_at(hashes))


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_frontier_goes_on_where_it_was_put_down(first: int, second: int) -> None:
    hashes = leaves(first + second)
    frontier = merkle.Frontier()
    frontier.extend(hashes[:first])
    again = merkle.Frontier.unpack(first, frontier.pack())
    again.extend(hashes[first:])
    assert again.root() == reference(hashes)


@given(st.data())
def test_inclusion_proofs_verify_and_tampered_ones_do_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 300))
    index = data.draw(st.integers(0, size - 1))
    hashes = leaves(size)
    proof, root = merkle.inclusion_proof(index, size, hash_at(hashes)), reference(hashes)
    merkle.verify_inclusion(hashes[index], index, size, proof, root)
    wrong = sha256(b"wrong").digest()
    for bad in _tampered(proof):
        refused(merkle.verify_inclusion, hashes[index], index, size, bad, root)
    refused(merkle.verify_inclusion, wrong, index, size, proof, root)
    refused(merkle.verify_inclusion, hashes[index], index, size, proof, wrong)
    refused(merkle.verify_inclusion, hashes[index], size, size, proof, root)
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        refused(merkle.verify_inclusion, hashes[index], other, size, proof, root)


@given(st.data())
def test_consistency_proofs_verify_and_tampered_ones_do_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 300))
    old = data.draw(st.integers(0, size))
    hashes = leaves(size)
    proof = merkle.consistency_proof(old, size, hash_at(hashes))
    roots = reference(hashes[:old]), reference(hashes)
    merkle.verify_consistency(old, roots[0], size, roots[1], proof)
    wrong = sha256(b"wrong").digest()
    for bad in _tampered(proof):
        refused(merkle.verify_consistency, old, roots[0], size, roots[1], bad)
    refused(merkle.verify_consistency, old, wrong, size, roots[1], proof)
    if old:
        refused(merkle.verify_consistency, old, roots[0], size, wrong, proof)
    refused(merkle.verify_consistency, size + 1, roots[0], size, roots[1], proof)


def refused(verify: object, *arguments: object) -> None:
    with pytest.raises(merkle.ProofInvalid):
        verify(*arguments)  # type: ignore[operator]


def _tampered(proof: list[bytes]) -> list[list[bytes]]:
    wrong = sha256(b"wrong").digest()
    changed = [[*proof[:at], wrong, *proof[at + 1 :]] for at in range(len(proof))]
    return [*changed, [*proof, wrong], *([proof[:-1]] if proof else [])]


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 3)])
def test_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_proof(index, size, hash_at(leaves(size)))
    with pytest.raises(ValueError, match="former size"):
        merkle.consistency_proof(size + 1, size, hash_at(leaves(size)))


def test_a_frontier_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="frontier"):
        merkle.Frontier(3, [b"x" * 32])
    with pytest.raises(ValueError, match="expected 4"):
        merkle.tile_root(b"x" * 32, 2)
