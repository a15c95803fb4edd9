"""Tags and keywords are one thing under two names (filtering.md section 9): here is the only translation.

- A keyword that IMAP sets is a tag of that name; a tag whose name is an IMAP atom is stored as that keyword, any other
  as `t_` and a hash of its name. A definition may give a keyword another display name.
- System keywords, which begin with `$`, are no tags. Names and keywords that differ in case only are one.
- Deleting a definition leaves the keyword on messages: it is then shown as clients know it.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TypeVar

from msgspec import UNSET, UnsetType

from server.domain.errors import Conflict, InvalidInput
from server.domain.identity import Scope
from server.domain.ids import AccountId, TenantId
from server.domain.listing import CategoryDefinition, TagDefinition
from server.domain.scopes import require
from server.services.identity.names import text_of
from server.services.identity.writer import Input, check_revision, found, given, stored
from server.services.mailstore.flags import KEYWORDS_MAX
from server.services.trace.record import Target, differences, record_change
from server.store.database import Database
from server.store.errors import UniqueViolation
from server.store.repositories import tags
from server.store.transaction import Transaction, Unit

_T = TypeVar("_T")
NAME_MAX = 64
DESCRIPTION_MAX = 200
CATEGORIES_MAX = 100
_ATOM = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]$][^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]*')
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")


class NewTag(Input, frozen=True, kw_only=True):
    """`colour` is `#rrggbb`."""

    name: str
    colour: str = tags.COLOUR
    description: str = ""


class TagChange(Input, frozen=True, kw_only=True):
    """A new name changes what the tag is called, not the keyword that messages carry."""

    name: str | UnsetType = UNSET
    colour: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class NewCategory(Input, frozen=True, kw_only=True):
    """The higher `priority` comes first."""

    name: str
    colour: str = tags.COLOUR
    description: str = ""
    priority: int = 50
    enabled: bool = True


class CategoryChange(Input, frozen=True, kw_only=True):
    name: str | UnsetType = UNSET
    colour: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class TagNames:
    """The tags of one tenant as they are now: names to keywords and back."""

    def __init__(self, definitions: Sequence[TagDefinition]) -> None:
        self._names = {one.keyword.lower(): one.name for one in definitions}
        self._keywords = {one.name.casefold(): one.keyword for one in definitions}

    def names(self, keywords: Iterable[str]) -> list[str]:
        """The tags among keywords."""
        return [self._names.get(word.lower(), word) for word in keywords if not word.startswith("$")]

    def keyword(self, name: str, *, pointer: str) -> str:
        """The keyword of a tag's name, which need not be defined. Raises InvalidInput."""
        clean = tag_name(name, pointer=pointer)
        return self._keywords.get(clean.casefold()) or keyword_of(clean)

    def keywords(self, names: Sequence[str], *, pointer: str = "/tags") -> list[str]:
        """Raises InvalidInput: too many, or one that can't be a name."""
        if len(names) > KEYWORDS_MAX:
            raise InvalidInput(f"at most {KEYWORDS_MAX} tags", pointer=pointer)
        return [self.keyword(name, pointer=f"{pointer}/{place}") for place, name in enumerate(names)]

    def undefined(self, names: Sequence[str]) -> list[str]:
        """Names, as given, that no tag has yet, nor its keyword."""
        clean = {name: tag_name(name, pointer="/tags") for name in names}
        return [
            name
            for name, one in clean.items()
            if one.casefold() not in self._keywords and keyword_of(one).lower() not in self._names
        ]


def tag_name(name: str, *, pointer: str) -> str:
    """The one spelling of a tag's name. Raises InvalidInput."""
    clean = text_of(unicodedata.normalize("NFC", name).strip(), pointer=pointer, high=NAME_MAX)
    if not clean or clean.startswith(("$", "\\")):
        raise InvalidInput("a tag has a name, and system keywords are no tags", pointer=pointer)
    return clean


def keyword_of(name: str) -> str:
    """The IMAP keyword a tag name is stored as where no definition says another."""
    if _ATOM.fullmatch(name) is not None:
        return name
    digest = hashlib.sha256(name.casefold().encode()).digest()
    return "t_" + base64.b32encode(digest)[:26].decode().lower()


async def names_in(tx: Transaction, account_id: AccountId) -> TagNames:
    """The tags of the account's tenant."""
    tenant_id = await tags.tenant_of(tx, account_id)
    return TagNames([] if tenant_id is None else await tags.list_tags(tx, tenant_id))


async def define_missing(tx: Transaction, account_id: AccountId, names: Sequence[str], known: TagNames) -> None:
    """Write down the names of tags that are stored under another keyword, so that they can be shown again.

    Raises:
        InvalidInput: The tenant has too many tags.
    """
    tenant_id = await tags.tenant_of(tx, account_id)
    missing = {tag_name(name, pointer="/tags").casefold(): name for name in known.undefined(names)}
    if tenant_id is None or not missing:
        return
    await _check_room(tx, tenant_id, len(missing))
    for name in missing.values():
        clean = tag_name(name, pointer="/tags")
        await tags.insert_tag(tx, tenant_id, keyword=keyword_of(clean), name=clean, colour=tags.COLOUR, description="")


class TagService:
    """Use cases of tag and category definitions, which a tenant's accounts share."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tags(self, scope: Scope) -> list[TagDefinition]:
        """All by name."""
        require(scope, "filtering:read")
        return await self._database.read("tags.list", lambda tx: tags.list_tags(tx, scope.tenant_id))

    async def create_tag(self, scope: Scope, new: NewTag) -> TagDefinition:
        """Raises Conflict when there is a tag of that name or keyword."""
        require(scope, "filtering:write")
        name = tag_name(new.name, pointer="/name")
        description = text_of(new.description, pointer="/description", high=DESCRIPTION_MAX)
        colour = _colour(new.colour)

        async def unit(tx: Transaction) -> TagDefinition:
            await _check_name(tx, scope, name)
            await _check_room(tx, scope.tenant_id, 1)
            made = await tags.insert_tag(
                tx, scope.tenant_id, keyword=keyword_of(name), name=name, colour=colour, description=description
            )
            await record_change(tx, scope, type="tag.created", target=_tag_target(scope, made))
            return made

        return await self._write("tag.create", unit)

    async def change_tag(
        self, scope: Scope, tag_id: str, change: TagChange, *, revision: int | None = None
    ) -> TagDefinition:
        require(scope, "filtering:write")
        values = _checked(change)

        async def unit(tx: Transaction) -> TagDefinition:
            tag = found(await tags.get_tag(tx, scope.tenant_id, tag_id), "tag")
            check_revision(tag.revision, revision)
            if isinstance(change.name, str) and change.name.casefold() != tag.name.casefold():
                await _check_name(tx, scope, str(values["name"]))
            changes = differences(_shown(tag), values)
            if changes:
                await tags.change_tag(tx, scope.tenant_id, tag_id, values)
                await record_change(tx, scope, type="tag.updated", target=_tag_target(scope, tag), changes=changes)
            return found(await tags.get_tag(tx, scope.tenant_id, tag_id), "tag")

        return await self._write("tag.change", unit)

    async def delete_tag(self, scope: Scope, tag_id: str, *, revision: int | None = None) -> None:
        require(scope, "filtering:write")

        async def unit(tx: Transaction) -> None:
            tag = found(await tags.get_tag(tx, scope.tenant_id, tag_id), "tag")
            check_revision(tag.revision, revision)
            await tags.delete_tag(tx, scope.tenant_id, tag_id)
            await record_change(tx, scope, type="tag.deleted", target=_tag_target(scope, tag))

        await self._write("tag.delete", unit)

    async def categories(self, scope: Scope) -> list[CategoryDefinition]:
        """All, the most important first."""
        require(scope, "filtering:read")
        return await self._database.read("categories.list", lambda tx: tags.list_categories(tx, scope.tenant_id))

    async def create_category(self, scope: Scope, new: NewCategory) -> CategoryDefinition:
        """Raises Conflict when the name is taken."""
        require(scope, "filtering:write")
        name = tag_name(new.name, pointer="/name")
        description = text_of(new.description, pointer="/description", high=DESCRIPTION_MAX)
        colour, priority = _colour(new.colour), _priority(new.priority)

        async def unit(tx: Transaction) -> CategoryDefinition:
            have = await tags.list_categories(tx, scope.tenant_id)
            if len(have) >= CATEGORIES_MAX:
                raise InvalidInput(f"a tenant has at most {CATEGORIES_MAX} categories")
            made = await tags.insert_category(
                tx,
                scope.tenant_id,
                name=name,
                colour=colour,
                description=description,
                priority=priority,
                enabled=new.enabled,
            )
            await record_change(tx, scope, type="category.created", target=_category_target(scope, made))
            return made

        return await self._write("category.create", unit)

    async def change_category(
        self, scope: Scope, category_id: str, change: CategoryChange, *, revision: int | None = None
    ) -> CategoryDefinition:
        require(scope, "filtering:write")
        values = _checked(change)

        async def unit(tx: Transaction) -> CategoryDefinition:
            category = found(await tags.get_category(tx, scope.tenant_id, category_id), "category")
            check_revision(category.revision, revision)
            old = {**_shown(category), "priority": category.priority, "enabled": category.enabled}
            changes = differences(old, values)
            if changes:
                await tags.change_category(tx, scope.tenant_id, category_id, stored(values))
                target = _category_target(scope, category)
                await record_change(tx, scope, type="category.updated", target=target, changes=changes)
            return found(await tags.get_category(tx, scope.tenant_id, category_id), "category")

        return await self._write("category.change", unit)

    async def delete_category(self, scope: Scope, category_id: str, *, revision: int | None = None) -> None:
        """Messages in it are in none afterwards."""
        require(scope, "filtering:write")

        async def unit(tx: Transaction) -> None:
            category = found(await tags.get_category(tx, scope.tenant_id, category_id), "category")
            check_revision(category.revision, revision)
            await tags.delete_category(tx, scope.tenant_id, category_id)
            await record_change(tx, scope, type="category.deleted", target=_category_target(scope, category))

        await self._write("category.delete", unit)

    async def _write(self, name: str, unit: Unit[_T]) -> _T:
        try:
            return await self._database.write(name, unit)
        except UniqueViolation as error:
            raise Conflict("there is one of this name already") from error


async def _check_name(tx: Transaction, scope: Scope, name: str) -> None:
    keyword = keyword_of(name).lower()
    for tag in await tags.list_tags(tx, scope.tenant_id):
        if tag.name.casefold() == name.casefold() or tag.keyword.lower() == keyword:
            raise Conflict("there is a tag of this name already")


async def _check_room(tx: Transaction, tenant_id: TenantId, more: int) -> None:
    if len(await tags.list_tags(tx, tenant_id)) + more > tags.TAGS_MAX:
        raise InvalidInput(f"a tenant has at most {tags.TAGS_MAX} tags", pointer="/tags")


def _checked(change: TagChange | CategoryChange) -> dict[str, object]:
    names = ("name", "colour", "description")
    values = given(change, (*names, "priority", "enabled") if isinstance(change, CategoryChange) else names)
    if isinstance(change.name, str):
        values["name"] = tag_name(change.name, pointer="/name")
    if isinstance(change.colour, str):
        _colour(change.colour)
    if isinstance(change.description, str):
        text_of(change.description, pointer="/description", high=DESCRIPTION_MAX)
    if isinstance(change, CategoryChange) and isinstance(change.priority, int):
        _priority(change.priority)
    return values


def _colour(value: str) -> str:
    if _COLOUR.fullmatch(value) is None:
        raise InvalidInput("#rrggbb", pointer="/colour")
    return value


def _priority(value: int) -> int:
    if not 0 <= value <= 1000:
        raise InvalidInput("0 to 1000", pointer="/priority")
    return value


def _shown(one: TagDefinition | CategoryDefinition) -> dict[str, object]:
    return {"name": one.name, "colour": one.colour, "description": one.description}


def _tag_target(scope: Scope, tag: TagDefinition) -> Target:
    return Target(kind="tag", id=tag.id, name=tag.name, tenant_id=scope.tenant_id)


def _category_target(scope: Scope, category: CategoryDefinition) -> Target:
    return Target(kind="category", id=category.id, name=category.name, tenant_id=scope.tenant_id)
