"""The tables of accounts: people, how they sign in, and their tokens."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, Created, Id


class UserRow(Base):
    """A person. `role` is "admin" or "member"."""

    __tablename__ = "users"

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str] = mapped_column(default="member")
    created_at: Mapped[Created]


class Password(Base):
    """How an account signs in: the scrypt hash of its password."""

    __tablename__ = "passwords"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    hash: Mapped[str]
    changed_at: Mapped[Created]


class Token(Base):
    """A bearer token of an account: only its SHA-256 is kept."""

    __tablename__ = "tokens"

    id: Mapped[Id]
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    label: Mapped[str] = mapped_column(default="")
    hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[Created]
    used_at: Mapped[float | None]
