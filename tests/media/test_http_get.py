"""A fetch ends within its limits, and goes to no address that the rule does not allow."""

from __future__ import annotations

import socket
import time

import pytest
from file_server import file_server, redirect

from weft.media.addresses import AddressRule
from weft.media.http_get import MAX_REDIRECTS, HttpGet
from weft.media.http_url import read_http_url

HERE = AddressRule(["127.0.0.1"])


def getter(rule=HERE, **limits):
    return HttpGet(rule, **{"seconds": 5.0, "max_bytes": 1000} | limits)


def send(handler, *headers, status=200):
    handler.send_response(status)
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()


def endless(handler):
    send(handler)
    while True:
        handler.wfile.write(b"x" * 100)


def slow(handler):
    send(handler, ("Content-Length", "900"))
    while True:
        handler.wfile.write(b"x")
        time.sleep(0.05)


def slow_head(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        handler.wfile.write(b"y")
        time.sleep(0.05)


def compressed(handler):
    send(handler, ("Content-Encoding", "gzip"))
    handler.wfile.write(b"bomb")


def short(handler):
    send(handler, ("Content-Length", "900"))
    handler.wfile.write(b"x")


BAD = {
    "/endless": (endless, "more than 1000 bytes"), "/slow": (slow, "within 0.4 s"),
    "/head": (slow_head, "within 0.4 s"),
    "/large": (lambda handler: send(handler, ("Content-Length", "5000000")), "more than 1000 bytes"),
    "/compressed": (compressed, "compressed"), "/short": (short, "does not speak HTTP"),
    "/garbage": (lambda handler: handler.wfile.write(b"\x16\x03 what\r\n\r\n"), "does not speak HTTP"),
    "/loop": (redirect("/loop"), f"more than {MAX_REDIRECTS} redirects"), "/none": (None, "status 404"),
    "/private": (redirect("http://127.0.0.2:80/x"), "no public address"),
    "/metadata": (redirect("http://169.254.169.254/latest"), "no public address"),
    "/scheme": (redirect("file:///etc/passwd"), "expected http or https"),
    "/user": (redirect("http://a:b@127.0.0.1/x"), "no user name"),
}


@pytest.fixture(scope="module")
def server():
    with file_server({path: answer for path, (answer, _) in BAD.items() if answer is not None} | {
            "/a.png": b"the file", "/there": redirect("/a.png"), "/%C3%A9?q=%C3%A9": b"accents"}) as (url, _):
        yield url


def test_a_file_arrives_also_behind_a_redirect_and_with_letters_beyond_ascii(server):
    assert getter().get(server + "/a.png") == getter().get(server + "/there") == b"the file"
    assert getter().get(server + "/é?q=é") == b"accents"


@pytest.mark.parametrize("path", BAD)
def test_what_a_server_does_wrong_is_one_error(server, path):
    seconds = 0.4 if path in ("/slow", "/head") else 5.0

    with pytest.raises(ValueError, match=BAD[path][1]):
        getter(seconds=seconds).get(server + path)


def test_a_name_is_resolved_once_and_the_checked_address_is_asked(server, monkeypatch):
    real, answers = socket.getaddrinfo, iter(["127.0.0.1", "169.254.169.254"])

    def resolve(host, *args, **kwargs):
        return real(next(answers) if host == "changes.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert getter().get(server.replace("127.0.0.1", "changes.example") + "/a.png") == b"the file"
    assert next(answers) == "169.254.169.254"      # nobody asked again


def test_only_listed_domains_are_asked_at_each_step(server, monkeypatch):
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **kwargs: real(
        "127.0.0.1" if host.endswith("example") else host, *args, **kwargs))
    url = server.replace("127.0.0.1", "images.example")

    assert getter(domains=["Images.Example"]).get(url + "/a.png") == b"the file"
    for other in (server + "/a.png", url.replace("images", "x.images") + "/a.png", url + "/private"):
        with pytest.raises(ValueError, match="allowed_media_domains"):
            getter(domains=["images.example"]).get(other)


def test_the_environments_proxy_is_not_used(server, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.2:9")

    assert getter().get(server + "/a.png") == b"the file"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0",
                                  "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "no-such-host.invalid"])
def test_no_spelling_of_a_host_leads_to_this_machine(host):
    with pytest.raises(ValueError, match="no public address"):
        getter(AddressRule()).get(f"http://{host}/")


@pytest.mark.parametrize("address", [
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
    "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fe80::1%1",
    "fc00::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "2002:7f00:1::",
    "2001:0:808:808::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "example.com"])
def test_addresses_that_are_not_public_are_refused(address):
    assert not AddressRule().allows(address, 443)


def test_public_addresses_are_allowed_at_the_ports_of_http_and_named_networks_at_all():
    rule = AddressRule(["10.1.0.0/16", "fd00::/8"])

    assert all(rule.allows(address, 443) for address in ("8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"))
    assert [rule.allows("8.8.8.8", port) for port in (80, 443, 22, 25, 8000)] == [True, True, False, False, False]
    assert [rule.allows(address, 9000) for address in ("10.1.2.3", "fd00::1", "10.2.0.1", "::ffff:10.1.2.3")] == [
        True, True, False, False]


@pytest.mark.parametrize("url", ["http://a b/", "http://a\\@b/", "http://a\n/", "http://", "http:///x", "http://a:0/",
                                 "http://a:99999/", "http://a:b/", "ftp://a/", "gopher://a/", "http://u@a/", "http://@a/",
                                 "http://a%2eb/", "http://[::1/", "http://-/", "http://a/" + "x" * 9000, "http://*/"])
def test_a_url_that_parsers_may_read_in_two_ways_is_refused(url):
    with pytest.raises(ValueError, match="expected"):
        read_http_url(url)
