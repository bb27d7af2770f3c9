"""Accounts: passwords and tokens of a studio that more than one person uses.

Passwords are stored as scrypt hashes, tokens as SHA-256 (they are random, so a slow hash adds nothing).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import delete as sql_delete
from sqlalchemy import select, update

from db import rows
from db.base import new_id, now, plain
from db.errors import Conflict, NotFound
from db.session import database, retried
from db.tables import Password, Token, UserRow
from db.users import LOCAL, User
from engine.errors import Refused

TOKEN_PREFIX = "pst_"  # noqa: S105 - how every token begins, not one of them
SHORTEST_PASSWORD = 8
#: scrypt's cost: about 50 ms and 16 MB for one check.
COST, BLOCK, LANES = 2**14, 8, 1
#: A token's last use is written at most this often, in seconds.
USE_SECONDS = 300


class NameInUse(Conflict):
    """There is already an account called '{name}'."""

    kind = "account_exists"
    try_this = "Choose another name."


class NoAccount(NotFound):
    """There is no account called '{name}'."""

    kind = "account_missing"
    try_this = "See: peft-studio users list."


class WeakPassword(Refused):
    """The password is shorter than {shortest} characters."""

    kind = "password_weak"
    try_this = "Choose a longer one."


class WrongPassword(Refused):
    """Name and password do not fit together."""

    kind = "password_wrong"
    try_this = "Try again, or ask an administrator for a new password."
    status = 401


@dataclass(frozen=True)
class NewToken:
    """A token just made; `secret` is shown once and never stored."""

    id: str
    label: str
    secret: str


@retried
def add(name: str, password: str, role: str = "member") -> User:
    """Add an account; raises NameInUse, WeakPassword, BadName."""
    name, hashed = rows.good_name(name), _hashed(password)
    with database().write() as session:
        if session.scalar(select(UserRow.id).where(UserRow.name == name)):
            raise NameInUse("name", name=name)
        row = UserRow(id=new_id("us"), name=name, role=role)
        session.add(row)
        session.flush()
        session.add(Password(user_id=row.id, hash=hashed))
    return User(row.id, row.name, row.role)


def find() -> list[User]:
    """Return every account that can sign in or has a token, by name."""
    query = select(UserRow).where(UserRow.id != LOCAL).order_by(UserRow.name)
    with database().read() as session:
        return [User(row.id, row.name, row.role) for row in session.scalars(query)]


def by_name(name: str) -> User:
    """Return the account of that name; raises NoAccount."""
    with database().read() as session:
        row = session.scalar(select(UserRow).where(UserRow.name == plain(name, 200)))
    if row is None:
        raise NoAccount(name, noun="account", id=name, name=plain(name, 80))
    return User(row.id, row.name, row.role)


@retried
def set_password(user: User, password: str) -> None:
    """Set a user's password, which ends every session; raises WeakPassword."""
    hashed = _hashed(password)
    with database().write() as session:
        row = session.get(Password, user.id)
        if row is None:
            session.add(Password(user_id=user.id, hash=hashed))
        else:
            session.execute(update(Password).where(Password.user_id == user.id).values(hash=hashed, changed_at=now()))


def check_password(name: str, password: str) -> User:
    """Return the user of that name and password; raises WrongPassword, in the same time whether the name exists."""
    query = select(UserRow, Password.hash).join(Password, Password.user_id == UserRow.id).where(
        UserRow.name == plain(name, 200))
    with database().read() as session:
        found = session.execute(query).first()
    good = _fits(password, found[1] if found else _NOBODY)
    if found is None or not good:
        raise WrongPassword("password")
    return User(found[0].id, found[0].name, found[0].role)


def stamp(user_id: str) -> tuple[User, str] | None:
    """Return a user and a mark that changes with the password, for sessions; None when the account is gone."""
    query = select(UserRow, Password.hash).join(Password, Password.user_id == UserRow.id).where(UserRow.id == user_id)
    with database().read() as session:
        found = session.execute(query).first()
    if found is None:
        return None
    return User(found[0].id, found[0].name, found[0].role), hashlib.sha256(found[1].encode()).hexdigest()[:16]


@retried
def make_token(user: User, label: str = "") -> NewToken:
    """Make a token that acts for the user until it is revoked."""
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = Token(id=new_id("tk"), user_id=user.id, label=plain(label, 200), hash=_digest(secret))
    with database().write() as session:
        session.add(row)
    return NewToken(row.id, row.label, secret)


@retried
def of_token(secret: str) -> User | None:
    """Return the user a token acts for, and note its use; None when it is not known."""
    if not secret.startswith(TOKEN_PREFIX):
        return None
    query = select(UserRow, Token.id, Token.used_at, now()).join(Token, Token.user_id == UserRow.id).where(
        Token.hash == _digest(secret))
    with database().read() as session:
        found = session.execute(query).first()
    if found is None:
        return None
    row, id, used, moment = found
    if used is None or moment - used > USE_SECONDS:
        with database().write() as session:
            session.execute(update(Token).where(Token.id == id).values(used_at=now()))
    return User(row.id, row.name, row.role)


def tokens(user: User) -> list[Token]:
    """Return a user's tokens, newest first; their secrets are not kept."""
    query = select(Token).where(Token.user_id == user.id).order_by(Token.created_at.desc())
    with database().read() as session:
        return list(session.scalars(query))


@retried
def revoke(id: str, user: User | None = None) -> None:
    """Make a token useless, of `user` only when given; raises NotFound."""
    query = sql_delete(Token).where(Token.id == id, *([] if user is None else [Token.user_id == user.id]))
    with database().write() as session:
        if session.scalar(query.returning(Token.id)) is None:
            raise NotFound(id, noun="token", id=plain(id, 80))


def _hashed(password: str) -> str:
    if len(password) < SHORTEST_PASSWORD:
        raise WeakPassword("password", shortest=SHORTEST_PASSWORD)
    salt = secrets.token_bytes(16)
    parts = (base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt)))
    return "$".join(("scrypt", *parts))


def _fits(password: str, stored: str) -> bool:
    _, salt, expected = stored.split("$")
    return hmac.compare_digest(_scrypt(password, base64.b64decode(salt)), base64.b64decode(expected))


def _scrypt(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, n=COST, r=BLOCK, p=LANES, dklen=32)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


#: What a password is compared with when there is no such account; nothing fits it.
_NOBODY = "scrypt$" + base64.b64encode(bytes(16)).decode() + "$" + base64.b64encode(bytes(32)).decode()
