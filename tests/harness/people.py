"""The people tests speak about: who they are, and made the first time somebody mentions them."""

from functools import cached_property

from django.contrib.auth.models import Group, User

PASSWORD = "a long enough pass phrase"


class People:
    """Ada owns the agent, Bea, Cem and Dee review, Eve audits, Cleo has no rights, and an administrator.

    Each is a saved Django user with `PASSWORD` as password, made when first asked for.
    """

    password = PASSWORD

    @cached_property
    def ada(self) -> User:
        """Owner of the agent; proposes. In `operators`."""
        return _person("ada", "Ada", groups=("operators",), staff=True)

    @cached_property
    def bea(self) -> User:
        """A reviewer."""
        return _person("bea", "Bea", groups=("operators", "reviewers"), staff=True)

    @cached_property
    def cem(self) -> User:
        """A second reviewer."""
        return _person("cem", "Cem", groups=("operators", "reviewers"), staff=True)

    @cached_property
    def dee(self) -> User:
        """A third reviewer."""
        return _person("dee", "Dee", groups=("operators", "reviewers"), staff=True)

    @cached_property
    def eve(self) -> User:
        """An auditor: reads everything, changes nothing."""
        return _person("eve", "Eve", groups=("auditors",), staff=True)

    @cached_property
    def cleo(self) -> User:
        """Somebody who may log in and nothing else."""
        return _person("cleo", "Cleo")

    @cached_property
    def administrator(self) -> User:
        """The superuser."""
        return _person("administrator", "Administrator", staff=True, superuser=True)

    @property
    def reviewers(self) -> list[User]:
        """Bea, Cem and Dee."""
        return [self.bea, self.cem, self.dee]


def _person(
    username: str, name: str, *, groups: tuple[str, ...] = (), staff: bool = False, superuser: bool = False
) -> User:
    user, made = User.objects.get_or_create(
        username=username,
        defaults={
            "first_name": name,
            "email": f"{username}@example.org",
            "is_staff": staff,
            "is_superuser": superuser,
        },
    )
    if made:
        user.set_password(PASSWORD)
        user.save()
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return user
