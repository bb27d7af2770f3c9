"""What every table shares: column types, the database's clock, ids, and text both databases accept."""

from __future__ import annotations

import json
import math
import re
import secrets
from typing import Annotated, Any, ClassVar, cast

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

Json: TypeEngine[Any] = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
JsonObject = dict[str, Any]
JsonList = list[Any]


class now(FunctionElement[float]):
    """The database's clock: Unix time in seconds."""

    type: TypeEngine[float] = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(extract(epoch from clock_timestamp())::double precision)"


def new_id(prefix: str) -> str:
    """Return a new id: the prefix, an underscore and 10 base32 characters (50 random bits)."""
    return f"{prefix}_" + "".join(secrets.choice(ALPHABET) for _ in range(10))


def plain(text: str, limit: int | None = None) -> str:
    """Return `text` without what PostgreSQL cannot store (NUL, lone surrogates), cut to `limit` characters."""
    clean = text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
    return clean if limit is None or len(clean) <= limit else clean[: limit - 1] + "…"


def to_json(value: Any) -> str:
    """Return compact JSON that both databases accept: NaN and infinities become null, NUL the replacement character."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.encode("utf-8", "replace").decode()
    return _NUL.sub("\\1\ufffd", text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in cast("list[Any]", value)]
    return value


class Base(DeclarativeBase):
    """The one base of all tables."""

    metadata = MetaData(naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s"})
    type_annotation_map: ClassVar[dict[Any, TypeEngine[Any]]] = {float: Double(), int: BigInteger(), str: String(),
                                                                 JsonObject: Json, JsonList: Json}


Id = Annotated[str, mapped_column(String, primary_key=True)]
Created = Annotated[float, mapped_column(Double, insert_default=now())]


class Owned:
    """A row that belongs to a user. `noun` is what errors call it, `prefix` how its ids begin."""

    noun: ClassVar[str]
    prefix: ClassVar[str]

    id: Mapped[str] = mapped_column(primary_key=True, sort_order=-2)

    @declared_attr
    @classmethod
    def owner_id(cls) -> Mapped[str]:
        """Return the column that names the owner."""
        return mapped_column(ForeignKey("users.id", ondelete="CASCADE"), sort_order=-1)
