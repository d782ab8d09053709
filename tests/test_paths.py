"""Which JMESPaths may be taken: a table."""

import pytest

from verification import paths


@pytest.mark.parametrize(
    "path",
    [
        "content.max_connections",
        '"a name with.dots"',
        "items[0].name",
        "items[-1:]",
        "items[*].size",
        "items[?size > `3` && name != 'x'].name | [0]",
        "length(items[?contains(name, 'web')])",
        "servers.*.state",
        "nested[][]",
        "max(items[*].size)",
        "sort(keys(@))[0]",
        "!ready || not_null(a, b)",
    ],
)
def test_what_people_need_is_there(path: str) -> None:
    paths.check(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("[@,@]", "multi select list"),
        ("[@,@]|" * 26 + "to_string(@)", "at most|multi select list|not supported"),
        ("{a: @, b: @}", "multi select dict"),
        ("map(&[@,@], items)", "not supported"),
        ("sort_by(items, &size)", "not supported"),
        ("to_string(@)", "to_string"),
        ("join(',', items)", "join"),
        ("merge(@, @)", "merge"),
        ("|".join(["@"] * 100), "at most 80 parts"),
        ("items[", "Not a JMESPath"),
        ("", "Not a JMESPath"),
    ],
)
def test_what_could_cost_more_than_the_document_is_refused(path: str, why: str) -> None:
    with pytest.raises(paths.PathRefused, match=why):
        paths.check(path)
