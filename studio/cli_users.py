"""`peft-studio users …`: accounts and tokens, for a studio with STUDIO_AUTH=on."""

from __future__ import annotations

import secrets
import sys
from typing import Annotated, Literal

import typer

from studio import cli_print as out
from studio.cli_print import Json

app = typer.Typer()

#: Bytes of randomness in a password that is made here.
PASSWORD_BYTES = 12


@app.command("list")
def show_all(json: Json = False) -> None:
    """List accounts."""
    from db import accounts
    from studio.cli_session import me

    me()
    rows = [{"id": user.id, "name": user.name, "role": user.role} for user in accounts.find()]
    out.emit(rows) if json else out.table(rows, [("id", "ID"), ("name", "Name"), ("role", "Role")], "No accounts yet.")


@app.command()
def add(name: str, role: Annotated[Literal["member", "admin"], typer.Option(help="Admins manage accounts.")] = "member",
        password: Annotated[bool, typer.Option("--password", help="Ask for a password (or read it from standard input) "
                                                                  "instead of making one.")] = False,
        json: Json = False) -> None:
    """Add an account; prints a password made for it unless one is asked for."""
    from db import accounts
    from studio.cli_session import me

    me()
    chosen = _ask() if password else secrets.token_urlsafe(PASSWORD_BYTES)
    user = accounts.add(name, chosen, role=role)
    shown = {"id": user.id, "name": user.name, "role": user.role} | ({} if password else {"password": chosen})
    if json:
        out.emit(shown)
        return
    out.say(f"{user.id}  {user.name}  {user.role}")
    if not password:
        out.say(f"Password: {chosen}")
        out.aside("It is shown only now. Change it with: peft-studio users password " + name)


@app.command()
def password(name: str) -> None:
    """Set an account's password; it is signed out everywhere."""
    from db import accounts
    from studio.cli_session import me

    me()
    accounts.set_password(accounts.by_name(name), _ask())
    out.say(f"{name}: the password is changed.")


@app.command()
def token(name: str, label: Annotated[str, typer.Option(help="What it is for.")] = "", json: Json = False) -> None:
    """Make a token for the API; send it as 'Authorization: Bearer …'."""
    from db import accounts
    from studio.cli_session import me

    me()
    made = accounts.make_token(accounts.by_name(name), label)
    out.emit({"id": made.id, "token": made.secret, "label": made.label}) if json else out.say(made.secret)
    out.aside("It is shown only now and works until it is revoked: peft-studio users revoke " + made.id)


@app.command()
def revoke(id: Annotated[str, typer.Argument(help="A token's id (tk_…).")]) -> None:
    """Make a token useless."""
    from db import accounts
    from studio.cli_session import me

    me()
    accounts.revoke(id)
    out.say(f"{id}: revoked.")


def _ask() -> str:
    """Return a password typed twice, or the first line of standard input when nobody types."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
