"""Logins of browsers: the cookie, requests of other sites, headers of safety."""

import asyncio

import httpx
import pytest

from imarium.access import HOME, Visibility
from imarium.faces.http import create_app

PASSWORD = "four plain words here"
PAGE = {"Imarium-Request": "1"}


@pytest.fixture
def served(archive):
    archive.accounts.add("ann", password=PASSWORD, is_administrator=True)
    return create_app(archive, ("testserver",), open_reading=False)


@pytest.fixture
def browser(served):
    """Takes an address; gives a client that keeps cookies, and runs its requests one by one."""
    made = []

    def start(scheme="http", app=served):
        transport = _Bridge(app)
        client = httpx.Client(transport=transport, base_url=f"{scheme}://testserver/api/v1")
        made.append(client)
        return client

    yield start
    for client in made:
        client.close()


class _Bridge(httpx.BaseTransport):
    """An app behind a plain client."""

    def __init__(self, app):
        self.app = app

    def handle_request(self, request):
        async def answer():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            passed = httpx.Request(
                request.method, request.url, headers=request.headers, content=request.read()
            )
            response = await transport.handle_async_request(passed)
            content = await response.aread()
            return httpx.Response(response.status_code, headers=response.headers, content=content)

        return asyncio.run(answer())


CREDENTIALS = {"username": "ann", "password": PASSWORD}


def test_a_browser_logs_in_and_out(browser):
    page = browser()
    assert page.get("/me").status_code == 401
    opened = page.post("/session", json=CREDENTIALS, headers=PAGE)
    assert (opened.status_code, opened.content) == (204, b"")
    parts = {part.strip() for part in opened.headers["set-cookie"].split(";")}
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= parts
    assert "Secure" not in parts
    assert page.get("/me").json()["username"] == "ann"
    assert page.post("/logout", headers=PAGE).status_code == 204
    assert page.get("/me").status_code == 401


def test_with_https_the_cookie_is_for_it_alone(browser):
    page = browser("https")
    opened = page.post("/session", json=CREDENTIALS, headers=PAGE)
    assert opened.headers["set-cookie"].startswith("__Host-imarium_session=")
    assert "Secure" in opened.headers["set-cookie"]
    assert page.get("/me").status_code == 200
    assert page.get("/me").headers["strict-transport-security"].startswith("max-age=")
    assert "strict-transport-security" not in browser().get("/status").headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        PAGE | {"Origin": "http://evil.example"},
        PAGE | {"Origin": "null"},
        PAGE | {"Origin": "http://testserver:81"},
        PAGE | {"Sec-Fetch-Site": "cross-site"},
        PAGE | {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(browser, headers):
    page = browser()
    page.post("/session", json=CREDENTIALS, headers=PAGE)
    for method, path in (("POST", "/me/tokens"), ("POST", "/logout"), ("DELETE", "/me/sessions")):
        answer = page.request(method, path, headers=headers, json={"name": "stolen", "scopes": ["read"]})
        assert answer.status_code == 403, (method, path)
    # Nor do they log somebody in as another.
    assert browser().post("/session", json=CREDENTIALS, headers=headers).status_code == 403
    assert page.get("/me/tokens").json()["items"] == []


@pytest.mark.parametrize(
    "headers",
    [PAGE, PAGE | {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}],
)
def test_the_page_itself_may(browser, headers):
    page = browser()
    page.post("/session", json=CREDENTIALS, headers=headers)
    made = page.post("/me/tokens", headers=headers, json={"name": "t", "scopes": ["read"]})
    assert made.status_code == 201
    # A program sends no such headers, and needs none with its token.
    program = browser()
    program.headers["Authorization"] = f"Bearer {made.json()['token']}"
    assert program.get("/me").json()["scopes"] == ["read"]


def test_a_login_that_ended_does_not_close_what_is_open(browser, archive):
    archive.catalog.ensure_collection("c")
    archive.roles.set_visibility(HOME, "c", Visibility.PUBLIC)
    page = browser()
    page.cookies.set("imarium_session", "ended", domain="testserver")
    assert page.get("/collections").json()["total"] == 1
    assert page.get("/me").status_code == 401
    page.headers["Authorization"] = "Bearer ended"
    assert page.get("/collections").status_code == 401


def test_logins_are_listed_and_ended(browser):
    first, second = browser(), browser()
    for page in (first, second):
        page.post("/session", json=CREDENTIALS, headers=PAGE)
    items = first.get("/me/sessions").json()["items"]
    assert [item["current"] for item in items] == [True, False]
    assert first.delete("/me/sessions", headers=PAGE).status_code == 204
    assert second.get("/me").status_code == 401
    assert first.delete(f"/me/tokens/{items[0]['id']}", headers=PAGE).status_code == 204
    assert first.get("/me").status_code == 401


def test_guessing_is_slowed(browser, archive):
    page = browser()
    wrong = {"username": "ann", "password": "wrong"}
    answers = [page.post("/login", json=wrong) for _ in range(8)]
    assert {answer.status_code for answer in answers} == {401, 429}
    last = next(answer for answer in answers if answer.status_code == 429)
    assert int(last.headers["retry-after"]) >= 1
    assert last.json()["error"]["code"] == "too-many-attempts"


def test_registering_can_be_shut(browser, archive):
    wanted = {"username": "bob", "password": PASSWORD}
    assert browser().post("/registrations", json=wanted).status_code == 202
    assert browser().post("/login", json=wanted).status_code == 403
    archive.settings = type(archive.settings)(home=archive.settings.home, registration=False)
    assert browser().post("/registrations", json=wanted | {"username": "eve"}).status_code == 403
    assert browser().get("/login").json() == {"password": True, "oidc": None, "registration": False}


def test_headers_of_safety(browser):
    for path in ("/status", "/me", "/none"):
        headers = browser().get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval'" not in policy.replace("wasm-unsafe-eval", "")


def test_nothing_secret_is_logged(browser, caplog):
    caplog.set_level("DEBUG")
    page = browser()
    page.post("/session", json=CREDENTIALS, headers=PAGE)
    token = page.post("/me/tokens", headers=PAGE, json={"name": "t", "scopes": ["read"]}).json()["token"]
    page.headers["Authorization"] = f"Bearer {token}"
    page.get("/me")
    page.post("/login", json={"username": "a password by mistake", "password": "wrong"})
    page.patch("/accounts/some-name", headers=PAGE, json={"standing": "disabled"})
    logged = "".join(
        record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))
    )
    assert "/login" in logged
    for secret in (token, PASSWORD, "mistake", "some-name", "testserver"):
        assert secret not in logged
