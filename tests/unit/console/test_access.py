"""Who gets in, as what, and what keeps others out: asked of the whole console over HTTP."""

from __future__ import annotations

import re
from contextlib import ExitStack
from itertools import count

import pytest

from dicomnode.console.credentials import new_token
from tests.support.console import (
    JOB,
    Browser,
    cheap_line,
    make_client,
    make_config,
    make_parts,
    record_job,
)

PASSWORD = "a long password"  # noqa: S105 - invented


LINES = (cheap_line("anna", "operator", PASSWORD), cheap_line("victor", "viewer", PASSWORD))

_addresses = (f"127.0.0.{number}" for number in count(2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("access")


@pytest.fixture(scope="module")
def stack():
    """Consoles last for the module: what a test changes, it changes for its own browser alone."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture(scope="module")
def unasked(folder, stack):
    """A console without access configured."""
    parts = make_parts(make_config(folder / "unasked"), stack)
    record_job(parts.database, state="failed")
    return parts


@pytest.fixture
def password_file(folder):
    path = folder / "passwords"
    path.write_text("# who may use the console\n\n" + "\n".join(LINES) + "\n")
    return path


@pytest.fixture(scope="module")
def guarded(folder, stack):
    path = folder / "passwords"
    path.write_text("\n".join(LINES))
    return make_parts(make_config(folder / "guarded", access={"password_file": path}), stack)


@pytest.fixture
def browser(guarded, password_file):  # noqa: ARG001 - the file as it should be
    """One at an address of its own: failures are counted by address."""
    return Browser(guarded, address=next(_addresses))


# -- without access configured


def test_without_access_whoever_is_on_this_machine_may_act_and_sees_no_patient(unasked):
    state = make_client(unasked).get("/api/v1/state").json()

    assert (state["person"], state["role"], state["sees_patients"]) == ("local", "operator", False)


@pytest.mark.parametrize("name", ["localhost:8080", "127.0.0.1", "127.0.0.1:9", "[::1]:8080"])
def test_without_access_the_console_is_asked_by_names_of_this_machine(unasked, name):
    assert make_client(unasked).get("/", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize("name", ["evil.example", "192.0.2.7:8080", "localhost.evil.example"])
def test_a_page_elsewhere_cannot_make_its_own_name_lead_here(unasked, name):
    client = make_client(unasked)

    assert client.get("/", headers={"Host": name}).status_code == 403
    assert client.get("/api/v1/jobs", headers={"Host": name}).status_code == 403
    assert client.get("/healthz", headers={"Host": name}).status_code == 200


def test_where_it_is_open_to_anyone_anyone_may_act_and_sees_no_patient(tmp_path, stack):
    config = make_config(tmp_path, host="192.0.2.1", access={"open_to_anyone": True})
    client = make_client(make_parts(config, stack), address="192.0.2.9", base="http://node.example")

    state = client.get("/api/v1/state").json()

    assert (state["person"], state["role"], state["sees_patients"]) == ("anyone", "operator", False)


# -- passwords


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/static/console.css"])
def test_health_metrics_and_static_files_ask_nobody(guarded, path):
    assert make_client(guarded).get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/series/1.2", "/pipelines", "/quarantine", "/upload"])
def test_people_who_are_not_signed_in_are_sent_to_sign_in(guarded, path):
    answer = make_client(guarded).get(path)

    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in?next=%2F")


def test_programs_are_told_that_they_are_not_known(guarded):
    answer = make_client(guarded).get("/api/v1/jobs")

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_one_signs_in_looks_and_signs_out(browser):
    answer = browser.sign_in("anna", PASSWORD, wanted="/quarantine")
    assert (answer.status_code, answer.headers["location"]) == (303, "/quarantine")

    page = browser.get("/")
    assert page.status_code == 200
    assert "anna" in page.text

    assert browser.submit("/sign-out", page).headers["location"] == "/sign-in"
    assert browser.get("/").status_code == 303


def test_a_cookie_that_was_signed_out_opens_nothing_any_more(browser):
    browser.sign_in("anna", PASSWORD)
    stolen = dict(browser.cookies)
    browser.submit("/sign-out", browser.get("/"))

    browser.cookies.update(stolen)

    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("", ""), ("anna", "x" * 5000)]
)
def test_a_wrong_name_or_password_signs_nobody_in(browser, name, password):
    answer = browser.sign_in(name, password)

    assert answer.status_code == 401
    assert "do not belong together" in answer.text
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "wanted", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", "x"]
)
def test_signing_in_leads_to_pages_of_ours_alone(browser, wanted):
    assert browser.sign_in("anna", PASSWORD, wanted=wanted).headers["location"] == "/"


def test_failures_are_slowed_down_also_for_the_right_password(browser):
    for _ in range(5):
        assert browser.sign_in("anna", "wrong").status_code == 401

    answer = browser.sign_in("anna", PASSWORD)

    assert answer.status_code == 429
    assert 0 < int(answer.headers["retry-after"]) <= 300
    assert browser.sign_in("victor", PASSWORD).status_code == 303, "others are not kept out"


def test_cookies_are_kept_from_scripts_and_other_pages(browser):
    answer = browser.sign_in("anna", PASSWORD)

    [cookie] = [each for each in answer.headers.get_list("set-cookie") if "session=" in each]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie


def test_over_https_cookies_never_travel_in_clear(guarded):
    browser = Browser(guarded, base="https://console.example")

    answer = browser.sign_in("anna", PASSWORD)

    cookies = answer.headers.get_list("set-cookie")
    assert cookies
    assert all(each.startswith("__Host-") and "Secure" in each for each in cookies)
    assert "max-age=" in answer.headers["strict-transport-security"]


def test_a_password_is_not_asked_for_in_clear(guarded):
    browser = Browser(guarded, address="192.0.2.9", base="http://console.example")

    page = browser.get("/sign-in")

    assert "without encryption" in page.text
    assert "password" not in re.findall(r'type="(\w+)"', page.text)
    assert browser.sign_in("anna", PASSWORD).status_code == 403


def test_who_is_struck_out_of_the_file_is_signed_out(browser, password_file):
    browser.sign_in("anna", PASSWORD)
    password_file.write_text(LINES[1])

    assert browser.get("/").status_code == 303


def test_a_change_of_role_holds_at_once(browser, password_file):
    browser.sign_in("anna", PASSWORD)
    password_file.write_text(LINES[0].replace(":operator:", ":viewer:"))

    assert "anna<span" in browser.get("/").text
    assert browser.get("/api/v1/state").json()["role"] == "viewer"


def test_another_console_on_the_database_knows_who_is_signed_in(browser, stack, guarded):
    browser.sign_in("anna", PASSWORD)

    other = Browser(make_parts(guarded.config, stack))
    other.cookies.update(browser.cookies)

    assert other.get("/").status_code == 200


# -- roles


def test_viewers_look_and_do_not_act(browser, guarded):
    record_job(guarded.database, state="failed")
    browser.sign_in("victor", PASSWORD)

    page = browser.get("/series/1.2.3")

    assert page.status_code == 200
    assert f"/jobs/{JOB}/retry" not in page.text
    assert browser.submit(f"/jobs/{JOB}/retry", page).status_code == 403


@pytest.mark.parametrize(
    ("patients", "viewer", "operator"),
    [("viewers", True, True), ("operators", False, True), ("nobody", False, False)],
)
def test_who_is_shown_patients_is_configured(
    tmp_path, stack, password_file, patients, viewer, operator
):
    access = {"password_file": password_file, "patients": patients}
    parts = make_parts(make_config(tmp_path, access=access), stack)
    seen = []
    for name in ("victor", "anna"):
        browser = Browser(parts)
        browser.sign_in(name, PASSWORD)
        seen.append(browser.get("/api/v1/state").json()["sees_patients"])

    assert seen == [viewer, operator]


# -- forms that pages elsewhere have made


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
    ],
)
@pytest.mark.parametrize("path", [f"/jobs/{JOB}/retry", f"/api/v1/jobs/{JOB}/retry"])
def test_a_page_elsewhere_cannot_act(unasked, path, headers):
    browser = Browser(unasked)
    page = browser.get("/series/1.2.3")

    answer = browser.submit(path, page, headers=headers)

    assert answer.status_code == 403
    assert browser.get(f"/api/v1/jobs/{JOB}").json()["state"] == "failed"


def test_a_form_without_its_token_does_nothing(unasked):
    browser = Browser(unasked)
    browser.get("/series/1.2.3")

    for data in ({}, {"form_token": ""}, {"form_token": "0" * 64}):
        assert browser.post(f"/jobs/{JOB}/retry", data=data).status_code == 403


def test_the_token_of_another_browser_does_nothing(unasked):
    page_of_another = Browser(unasked).get("/series/1.2.3")
    browser = Browser(unasked)
    browser.get("/series/1.2.3")

    assert browser.submit(f"/jobs/{JOB}/retry", page_of_another).status_code == 403


@pytest.mark.usefixtures("job")
def test_our_own_form_acts(parts):
    browser = Browser(parts)
    page = browser.get("/series/1.2.3")

    own = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    answer = browser.submit(f"/jobs/{JOB}/retry", page, headers=own)

    assert (answer.status_code, answer.headers["location"]) == (303, "/series/1.2.3?done=retry")
    assert browser.get(f"/api/v1/jobs/{JOB}").json()["state"] == "queued"


@pytest.mark.usefixtures("job")
def test_a_program_on_this_machine_needs_no_form(client):
    assert client.post(f"/api/v1/jobs/{JOB}/retry").json() == {
        "done": f"{JOB}: the analysis was enqueued again"
    }


# -- bearer tokens


@pytest.fixture(scope="module")
def with_tokens(folder, stack):
    viewer, viewer_line = new_token("dashboard", "viewer")
    operator, operator_line = new_token("robot", "operator")
    path = folder / "tokens"
    path.write_text(f"{viewer_line}\n{operator_line}\n")
    parts = make_parts(make_config(folder / "tokens-node", access={"token_file": path}), stack)
    record_job(parts.database, state="failed")
    return parts, {"viewer": viewer, "operator": operator}


def test_a_bearer_token_says_who_asks(with_tokens):
    parts, tokens = with_tokens
    for role, token in tokens.items():
        headers = {"Authorization": f"Bearer {token}"}

        assert make_client(parts).get("/api/v1/state", headers=headers).json()["role"] == role


@pytest.mark.parametrize("token", ["", "wrong", "a" * 100_0])
def test_a_token_that_is_nobodys_is_refused(with_tokens, token):
    parts, _ = with_tokens
    headers = {"Authorization": f"Bearer {token}"}

    assert make_client(parts).get("/api/v1/state", headers=headers).status_code == 401


def test_a_viewers_token_does_not_act(with_tokens):
    parts, tokens = with_tokens
    client = make_client(parts)

    for role, status in (("viewer", 403), ("operator", 200)):
        headers = {"Authorization": f"Bearer {tokens[role]}"}
        answer = client.post(f"/api/v1/jobs/{JOB}/dismiss", headers=headers)
        assert answer.status_code == status


# -- a proxy that signs people in


@pytest.fixture(scope="module")
def behind_proxy(folder, stack):
    proxy = {
        "addresses": ["192.0.2.1", "198.51.100.0/24"],
        "user_header": "X-Forwarded-User",
        "role_header": "X-Role",
    }
    config = make_config(folder / "proxied", host="192.0.2.5", access={"proxy": proxy})
    return make_parts(config, stack)


def test_a_listed_proxy_says_who_asks(behind_proxy):
    client = make_client(behind_proxy, address="198.51.100.7")
    headers = {"X-Forwarded-User": "anna@example.org", "X-Role": "operator"}

    state = client.get("/api/v1/state", headers=headers).json()

    assert (state["person"], state["role"]) == ("anna@example.org", "operator")


def test_a_role_that_the_proxy_does_not_say_is_that_of_a_viewer(behind_proxy):
    client = make_client(behind_proxy, address="192.0.2.1")
    for role in ({}, {"X-Role": "root"}):
        headers = {"X-Forwarded-User": "anna", **role}
        assert client.get("/api/v1/state", headers=headers).json()["role"] == "viewer"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("192.0.2.9", {"X-Forwarded-User": "anna", "X-Role": "operator"}),
        ("127.0.0.1", {"X-Forwarded-User": "anna"}),
        ("192.0.2.1", {}),
        ("192.0.2.1", {"X-Forwarded-User": ""}),
        ("192.0.2.1", {"X-Forwarded-User": "a name with <marks>"}),
        ("192.0.2.9", {"X-Forwarded-User": "anna", "X-Forwarded-For": "192.0.2.1"}),
    ],
)
def test_nobody_else_is_believed(behind_proxy, address, headers):
    client = make_client(behind_proxy, address=address)

    assert client.get("/api/v1/state", headers=headers).status_code == 401


def test_behind_a_proxy_the_origin_is_the_one_that_the_browser_sees(behind_proxy):
    client = make_client(behind_proxy, address="192.0.2.1", base="http://10.0.0.3:8080")
    headers = {
        "X-Forwarded-User": "anna",
        "X-Role": "operator",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "console.example.org",
    }
    page = client.get("/upload", headers=headers)
    token = re.search(r'name="form_token" value="(\w+)"', page.text)[1]
    cookie = page.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("__Host-")

    def test_share(origin):
        sent = {**headers, "Cookie": cookie, "Origin": origin}
        return client.post("/destinations/share/test", data={"form_token": token}, headers=sent)

    assert test_share("https://console.example.org").status_code == 303
    assert test_share("http://10.0.0.3:8080").status_code == 403
