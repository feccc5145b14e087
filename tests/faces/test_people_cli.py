"""Commands for people, on a folder and on a server: the same answers."""

import io
import json
import sys

import pytest

from imarium.access import HOME
from imarium.faces.cli.app import run
from imarium.faces.http import listening


class Commands:
    """Runs commands in this process; answers their JSON lines, or their text."""

    def __init__(self, capfd, monkeypatch, place):
        self.capfd, self.monkeypatch, self.place = capfd, monkeypatch, place

    def __call__(self, *words, status=0, text=False, typed=""):
        self.capfd.readouterr()
        line = [*map(str, words), *map(str, self.place), *([] if text else ["--json"])]
        self.monkeypatch.setattr(sys, "argv", ["imarium", *line])
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as ended:
            run(listening)
        out, err = self.capfd.readouterr()
        assert (ended.value.code or 0) == status, out + err
        return out + err if text else [json.loads(row) for row in out.splitlines()]


@pytest.fixture(params=["local", "remote"])
def commands(request, archive, tmp_path, monkeypatch, capfd):
    archive.catalog.ensure_collection("c d")
    if request.param == "local":
        archive.accounts.ensure_administrator()
        return Commands(capfd, monkeypatch, ["--home", archive.settings.home])
    live = request.getfixturevalue("live")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("IMARIUM_TOKEN", archive.accounts.login("admin", live.password).token)
    return Commands(capfd, monkeypatch, ["--server", live.url])


def test_accounts(commands, archive):
    (made,) = commands("user", "add", "Ann", "--email", "ann@example.org")
    assert archive.accounts.login("ann", made["password"])
    (given,) = commands("user", "add", "bob", "--password-stdin", typed="four plain words here\n")
    assert given["password"] is None
    assert archive.accounts.login("bob", "four plain words here")
    commands("user", "add", "bob", status=2)
    commands("user", "add", "eve", "--password-stdin", typed="password123\n", status=2)
    (error,) = commands("user", "add", "a b", status=2)
    assert error["error"]["code"] == "invalid-request"
    archive.accounts.register("waiting", "four plain words here")
    listed = {item["name"]: item["standing"] for item in commands("user", "list")}
    assert listed == {"admin": "approved", "ann": "approved", "bob": "approved", "waiting": "waiting"}
    assert commands("user", "approve", "waiting")[0]["standing"] == "approved"
    assert commands("user", "disable", "bob")[0]["standing"] == "disabled"
    assert commands("user", "change", "ann", "--administrator")[0]["is_administrator"] is True
    (new,) = commands("user", "password", "ann")
    assert archive.accounts.login("ann", new["password"])
    assert "ann@example.org" in commands("user", "list", text=True)
    assert commands("user", "approve", "none", status=2)[0]["error"]["code"] == "not-found"


def test_tokens(commands, archive):
    (made,) = commands("token", "create", "a script", "--scope", "read", "--scope", "write", "--days", 7)
    assert {str(scope) for scope in archive.accounts.authenticate(made["token"]).scopes} == {"read", "write"}
    (listed,) = commands("token", "list")
    assert (listed["name"], listed["scopes"]) == ("a script", ["read", "write"])
    assert made["token"] not in commands("token", "list", text=True)
    commands("token", "revoke", listed["id"])
    assert commands("token", "list") == []
    logins = len(commands("token", "list", "--logins"))
    password = archive.accounts.reset_password("admin") if not logins else None
    assert (password is not None) == (commands.place[0] == "--home")
    commands("token", "revoke", status=2)
    commands("token", "revoke", 999, status=2)


def test_roles_access_and_agreements(commands, archive, tmp_path):
    commands("user", "add", "ann")
    ann = archive.accounts.actor("ann")
    assert commands("access", "show", "c d")[0]["visibility"] == "registered"
    assert commands("access", "set", "c d", "restricted")[0]["visibility"] == "restricted"
    assert not archive.permissions.within(ann)
    (granted,) = commands("role", "grant", "c d", "ann", "annotator", "--ends", "2999-01-31")
    assert granted["ends"] == "2999-01-31T00:00:00+00:00"
    assert len(archive.permissions.within(ann)) == 1
    (role,) = commands("role", "list", "c d")
    assert (role["user"], role["role"], role["ends"][:10]) == ("ann", "annotator", "2999-01-31")
    commands("role", "revoke", "c d", "ann")
    assert commands("role", "list", "c d") == []
    commands("role", "grant", "c d", "ann", "reader", "--ends", "soon", status=2)
    commands("role", "grant", "c d", "nobody", "reader", status=2)

    text = tmp_path / "agreement.txt"
    text.write_text("Be kind.\nAlways.")
    assert commands("agreement", "set", "c d", text) == [{"collection": "c d", "version": 1}]
    commands("agreement", "set", "c d", status=2)
    shown = commands("agreement", "show", "c d", text=True)
    assert "Be kind." in shown
    assert "version 1" in shown
    commands("agreement", "accept", "c d", "--version", 2, status=2)
    commands("agreement", "accept", "c d", "--version", 1)
    assert [item["user"] for item in commands("agreement", "show", "c d", "--accepted")] == ["admin"]
    assert commands("agreement", "set", "c d", "--none")[0]["version"] == 0

    number = archive.requests.ask(ann, "c d", "reader", "science")
    (request,) = commands("access", "list", "c d")
    assert (request["id"], request["purpose"], request["status"]) == (number, "science", "open")
    assert commands("access", "grant", number, "--reason", "welcome")[0]["status"] == "granted"
    second = archive.requests.ask(ann, "c d", "owner", "more")
    assert commands("access", "refuse", second, "--reason", "no")[0]["reason"] == "no"
    (own,) = commands("access", "request", "c d", "--purpose", "to see", "--role", "curator")
    assert [item["id"] for item in commands("access", "list")] == [own["id"]]
    commands("access", "withdraw", own["id"])
    assert commands("access", "list") == []


def test_as_somebody_on_a_home_folder(archive, capfd, monkeypatch):
    archive.catalog.ensure_collection("c")
    archive.agreements.put(HOME, "c", "Be kind.")
    archive.accounts.add("ann")
    commands = Commands(capfd, monkeypatch, ["--home", archive.settings.home])
    commands("agreement", "accept", "c", "--version", 1, "--user", "ann")
    assert [item.user for item in archive.agreements.accepted(HOME, "c")] == ["ann"]
    commands("token", "create", "t", "--scope", "read", "--user", "ann")
    assert [item.name for item in archive.accounts.sessions.tokens(archive.accounts.actor("ann"))] == ["t"]
    assert commands("user", "password", status=2)[0]["error"]["code"] == "invalid-request"


def test_ones_own_password_on_a_server(live, archive, capfd, monkeypatch):
    monkeypatch.setenv("IMARIUM_TOKEN", archive.accounts.login("admin", live.password).token)
    commands = Commands(capfd, monkeypatch, ["--server", live.url])
    answers = iter([live.password, "four plain words here"])
    monkeypatch.setattr("typer.prompt", lambda *_, **__: next(answers))
    commands("user", "password")
    assert archive.accounts.login("admin", "four plain words here")
    commands("token", "list", "--user", "ann", status=2)
