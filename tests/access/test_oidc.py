"""Logins by a real provider: the package oidc-provider, run by Node."""

import json
import re
import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit, urlunsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from imarium.access import Accounts
from imarium.access.accounts import Standing
from imarium.access.oidc import SignIn
from imarium.archive import Archive
from imarium.catalog import Catalog
from imarium.errors import AuthenticationError, InvalidRequestError, TransportError
from imarium.settings import Oidc, Settings
from imarium.testing import running

FOLDER = Path(__file__).parent / "oidc_provider"
SECRET = "s" * 40


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Provider:
    """A running provider, whose key the tests have too."""

    def __init__(self, issuer: str, key: RSAKey, redirect: str) -> None:
        self.issuer, self.key, self.redirect = issuer, key, redirect

    def settings(self, **changes) -> Oidc:
        return replace(Oidc(self.issuer, "imarium", SECRET), **changes)

    def token(self, **changes) -> str:
        """A token that the provider's key signed; claims that are None are left out."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "imarium",
            "sub": "ann",
            "iat": now,
            "exp": now + 60,
            "nonce": "n",
        }
        kept = {name: value for name, value in (claims | changes).items() if value is not None}
        return jwt.encode({"alg": "RS256", "kid": self.key.kid}, kept, self.key)


@pytest.fixture(scope="module")
def provider():
    if shutil.which("node") is None or not (FOLDER / "node_modules" / "oidc-provider").is_dir():
        pytest.skip("no provider of logins: run scripts/test, or `npm ci` in tests/access/oidc_provider")
    port, served = free_port(), free_port()
    key = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    redirect = f"http://127.0.0.1:{served}/api/v1/oidc/callback"
    options = {
        "port": port,
        "redirect": redirect,
        "secret": SECRET,
        "jwks": KeySet([key]).as_dict(private=True),
    }
    command = ["node", "provider.mjs", json.dumps(options)]
    process = subprocess.Popen(command, cwd=FOLDER, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        while line := process.stdout.readline():
            if line.strip() == b"ready":
                break
        assert process.poll() is None
        yield Provider(f"http://127.0.0.1:{port}", key, redirect)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def served(tmp_path, provider):
    """A server whose people log in with the provider; takes settings, gives the archive and its address."""
    archives = []

    def start(**changes):
        settings = Settings(home=tmp_path / "home", threads=1, oidc=provider.settings(**changes))
        archive = Archive(settings)
        archives.append(archive)
        context = running(archive, urlsplit(provider.redirect).port)
        archives.append(context)
        return archive, context.__enter__()

    yield start
    for item in reversed(archives):
        if isinstance(item, Archive):
            item.close()
        else:
            item.__exit__(None, None, None)


def follow(browser: httpx.Client, url: str, person: str, *, change=lambda url: url) -> httpx.Response:
    """What a browser does from `url` on, until it is back: logs in at the provider as `person`.

    Returns the answer to the last request to Imarium. `change` is what becomes of each address first.
    """
    answer = browser.get(url)
    for _ in range(20):
        if answer.is_redirect:
            target = change(urljoin(str(answer.request.url), answer.headers["location"]))
            if urlsplit(target).path == "/":
                return answer
            answer = browser.get(target)
        elif "/interaction/" in str(answer.request.url):
            form = re.search(r'name="prompt" value="(\w+)"', answer.text)
            assert form is not None, answer.text[:2000]
            data = {"prompt": form[1], "login": person, "password": "any"}
            answer = browser.post(str(answer.request.url), data=data)
        else:
            return answer
    raise AssertionError("it goes on and on")


def test_a_person_logs_in(provider, served):
    archive, url = served(approve=True)
    with httpx.Client() as browser:
        assert browser.get(f"{url}/api/v1/login").json()["oidc"] == "OpenID Connect"
        done = follow(browser, f"{url}/api/v1/oidc/login", "ann")
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = next(item for item in done.headers.get_list("set-cookie") if "imarium_session" in item)
        assert {"HttpOnly", "SameSite=strict"} <= {part.strip() for part in cookie.split(";")}
        me = browser.get(f"{url}/api/v1/me").json()
        assert (me["username"], me["is_administrator"]) == ("ann-example", False)
        account = archive.accounts.get("ann-example")
        assert (account.email, account.has_password) == ("ann@example.org", False)
        # The same person, the same account.
        browser.cookies.clear()
        follow(browser, f"{url}/api/v1/oidc/login", "ann")
        assert browser.get(f"{url}/api/v1/me").json()["username"] == "ann-example"
    assert [account.name for account in archive.accounts.all()] == ["ann-example"]
    with pytest.raises(AuthenticationError):
        archive.accounts.login("ann-example", "")


def test_an_account_waits_and_is_never_another_ones(provider, served):
    archive, url = served()
    password = archive.accounts.ensure_administrator()
    with httpx.Client() as browser:
        done = follow(browser, f"{url}/api/v1/oidc/login", "root")  # prefers to be called admin
        assert done.status_code == 403
        assert "waits for the approval" in done.json()["error"]["message"]
        made = next(account for account in archive.accounts.all() if account.name != "admin")
        assert made.name.startswith("admin-")
        assert made.standing is Standing.WAITING
        archive.accounts.approve(made.name)
        browser.cookies.clear()
        assert follow(browser, f"{url}/api/v1/oidc/login", "root").status_code == 303
        me = browser.get(f"{url}/api/v1/me").json()
        assert (me["username"], me["is_administrator"]) == (made.name, False)
    assert archive.accounts.login("admin", password)


def test_a_group_makes_administrators(provider, served):
    archive, url = served(approve=True, administrators="keepers")
    for person, expected in (("root", True), ("ann", False)):
        with httpx.Client() as browser:
            follow(browser, f"{url}/api/v1/oidc/login", person)
            assert browser.get(f"{url}/api/v1/me").json()["is_administrator"] is expected
    # Whoever left the group is one no longer.
    archive.accounts.set_administrator("ann-example", True)
    with httpx.Client() as browser:
        follow(browser, f"{url}/api/v1/oidc/login", "ann")
        assert browser.get(f"{url}/api/v1/me").json()["is_administrator"] is False


def test_a_state_is_used_once_and_in_one_browser(provider, served):
    _, url = served(approve=True)
    seen = []

    def watched(target):
        seen.append(target)
        return target

    with httpx.Client() as browser:
        follow(browser, f"{url}/api/v1/oidc/login", "ann", change=watched)
        (back,) = [target for target in seen if "/oidc/callback?" in target]
        state = parse_qs(urlsplit(back).query)["state"][0]
        browser.cookies.set("imarium_login", state, domain="127.0.0.1", path="/api/v1/oidc/callback")
        again = browser.get(back)
        assert again.status_code == 401
        assert "not begun here" in again.json()["error"]["message"]
    seen.clear()

    class StopError(Exception):
        pass

    def stop(target):
        if "/oidc/callback?" in target:
            seen.append(target)
            raise StopError
        return target

    with httpx.Client() as thief, httpx.Client() as victim:
        with pytest.raises(StopError):
            follow(thief, f"{url}/api/v1/oidc/login", "root", change=stop)
        # The victim's browser is sent to where the thief's was to go.
        answer = victim.get(seen[0])
        assert answer.status_code == 401
        assert "imarium_session" not in answer.headers.get("set-cookie", "")
        assert victim.get(f"{url}/api/v1/oidc/callback", params={"error": "access_denied"}).status_code == 401


@pytest.mark.parametrize("name", ["nonce", "code_challenge"])
def test_a_changed_request_ends_in_nothing(provider, served, name):
    archive, url = served(approve=True)

    def changed(target):
        parts = urlsplit(target)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if name not in query:
            return target
        return urlunsplit(parts._replace(query=urlencode(query | {name: "A" * 43})))

    with httpx.Client() as browser:
        assert follow(browser, f"{url}/api/v1/oidc/login", "ann", change=changed).status_code == 401
        assert browser.get(f"{url}/api/v1/me").status_code == 401
    assert archive.accounts.all() == []


def test_another_issuer_in_the_answer_is_refused(provider, served):
    _, url = served(approve=True)

    def changed(target):
        return (
            target.replace("iss=", "iss=http%3A%2F%2Fevil.example%2F&x=") if "callback?" in target else target
        )

    with httpx.Client() as browser:
        done = follow(browser, f"{url}/api/v1/oidc/login", "ann", change=changed)
        assert done.status_code == 401
        assert "another provider" in done.json()["error"]["message"]


@pytest.fixture
def sign_in(tmp_path, provider):
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    yield lambda **changes: SignIn(provider.settings(**changes), catalog, Accounts(catalog))
    catalog.close()


def test_a_token_as_it_should_be(provider, sign_in):
    assert sign_in().verified(provider.token(), "n")["sub"] == "ann"
    assert sign_in().verified(provider.token(aud=["imarium", "x"], azp="imarium"), "n")["sub"] == "ann"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://evil.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": None},
        {"aud": ["imarium", "another"]},
        {"aud": ["imarium", "another"], "azp": "another"},
        {"azp": "another"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": None},
        {"iat": int(time.time()) + 3600},
        {"nbf": int(time.time()) + 3600},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 5},
    ],
    ids=str,
)
def test_a_token_with_other_claims_is_none(provider, sign_in, changes):
    with pytest.raises(AuthenticationError):
        sign_in().verified(provider.token(**changes), "n")


def test_a_token_of_another_key_or_kind_is_none(provider, sign_in):
    service, good = sign_in(), provider.token()
    head, body, signature = good.split(".")
    claims = {"iss": provider.issuer, "aud": "imarium", "sub": "ann", "nonce": "n", "iat": 1, "exp": 1 << 33}
    other = RSAKey.generate_key(2048, {"use": "sig", "alg": "RS256"}, auto_kid=True)
    mixed = ECKey.generate_key("P-256", {"kid": provider.key.kid})
    forged = [
        jwt.encode({"alg": "RS256", "kid": other.kid}, claims, other),
        jwt.encode({"alg": "RS256", "kid": provider.key.kid}, claims, other),
        jwt.encode({"alg": "ES256", "kid": provider.key.kid}, claims, mixed),
        jwt.encode({"alg": "HS256", "kid": provider.key.kid}, claims, OctKey.import_key(SECRET)),
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.{body}.",
        f"{head}.{body[:-2]}AA.{signature}",
        f"{head}.{body}",
        "",
        "a.b.c",
    ]
    for token in forged:
        with pytest.raises(AuthenticationError):
            service.verified(token, "n")
    assert service.verified(good, "n")


def test_a_provider_that_is_not_what_the_settings_say(provider, sign_in):
    with pytest.raises(AuthenticationError, match="another issuer"):
        sign_in(issuer=provider.issuer.replace("127.0.0.1", "localhost")).start("http://127.0.0.1/x")
    with pytest.raises(TransportError):
        sign_in(issuer=f"http://127.0.0.1:{free_port()}").start("http://127.0.0.1/x")
    with pytest.raises(TransportError):
        sign_in(issuer=f"{provider.issuer}/none").start("http://127.0.0.1/x")
    with pytest.raises(InvalidRequestError, match="https"):
        sign_in(issuer="http://login.example.org")


def test_a_disabled_account_stays_out(provider, served):
    archive, url = served(approve=True)
    with httpx.Client() as browser:
        follow(browser, f"{url}/api/v1/oidc/login", "ann")
        archive.accounts.ensure_administrator()
        archive.accounts.disable("ann-example")
        assert browser.get(f"{url}/api/v1/me").status_code == 401
        browser.cookies.clear()
        assert follow(browser, f"{url}/api/v1/oidc/login", "ann").status_code == 403
