"""Who is let in over HTTP."""

from pathlib import Path

import pytest

from meshnode.errors import ConfigError
from meshnode.gateway.access import Access, access_for, is_loopback
from meshnode.gateway.http import Refused, RequestHead
from meshnode.ids import Address


def asks(path: str = "/predict", **headers: str) -> RequestHead:
    return RequestHead(
        method="GET", path=path, query={}, headers=headers, body_bytes=0, keep_alive=True
    )


def refused(access: Access, request: RequestHead) -> int:
    with pytest.raises(Refused) as raised:
        access.check(request)
    return raised.value.status


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:6180", "127.0.0.1:1", "[::1]:6180"])
def test_loopback_names_are_let_in(host: str) -> None:
    Access(loopback=True).check(asks(host=host))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:6180", ""])
def test_other_names_are_refused_against_dns_rebinding(host: str) -> None:
    assert refused(Access(loopback=True), asks(host=host)) == 403


def test_a_request_without_host_is_refused() -> None:
    assert refused(Access(loopback=True), asks()) == 400


def test_a_page_of_another_site_is_refused() -> None:
    access = Access(loopback=True)
    access.check(asks(host="localhost:6180", origin="http://localhost:6180"))
    assert refused(access, asks(host="localhost", origin="https://evil.example")) == 403
    assert refused(access, asks(host="localhost", origin="null")) == 403


def test_a_token_is_asked_for_but_not_for_health() -> None:
    access = Access(loopback=False, token="t" * 16)
    access.check(asks(host="pi", authorization="Bearer " + "t" * 16))
    access.check(asks("/healthz", host="pi"))
    assert refused(access, asks(host="pi")) == 401
    assert refused(access, asks(host="pi", authorization="Bearer x")) == 401
    assert refused(access, asks(host="pi", authorization="Basic " + "t" * 16)) == 401


def test_beyond_loopback_a_private_token_is_required(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        access_for(Address("0.0.0.0", 6180), "")
    file = tmp_path / "token"
    file.write_text("s" * 20 + "\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        access_for(Address("0.0.0.0", 6180), str(file))
    file.chmod(0o600)
    assert access_for(Address("0.0.0.0", 6180), str(file)) == Access(False, "s" * 20)
    file.write_text("short")
    with pytest.raises(ConfigError, match="16 characters"):
        access_for(Address("0.0.0.0", 6180), str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        access_for(Address("0.0.0.0", 6180), str(tmp_path / "none"))
    assert access_for(Address("127.0.0.1", 6180), "") == Access(True)


def test_only_names_of_this_machine_are_loopback() -> None:
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("127.0.0.1.nip.io")
