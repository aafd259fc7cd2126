"""Names of images: cases of the tests of distribution/reference."""

import pytest

from osm_healthcheck.injection.image import image_problem

_SHA256 = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "image",
    [
        "test_com",
        "test.com:tag",
        "test.com:5000",  # a tag
        "test:5000/repo:tag",
        f"test:5000/repo@{_SHA256}",
        f"test:5000/repo:tag@{_SHA256}",
        f"repo@sha512:{'0f' * 64}",
        "sub-dom1.foo.com/bar/baz/quux",
        "b.gcr.io/test.example.com/my-app:test.example.com",
        "xn--n3h.com/myimage:xn--n3h.com",
        "foo_bar.com:8080",
        "foo/foo_bar.com:8080",
        "192.168.1.1:8080/test:tag",
        "[2001:db8::1]:5000/repo",
        "Foo/bar",  # a registry
        "localhost/a__b/c--d",
        f"registry.example/{'a/' * 127}a",
        "b:_",
        "b:" + "t" * 128,
    ],
)
def test_names_that_the_kubelet_takes(image: str) -> None:
    assert image_problem(image) == ""


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("", '"" has to be lower case letters'),
        (":justtag", '"" has to be lower case letters'),
        (f"@{_SHA256}", '"" has to be lower case letters'),
        ("Uppercase:tag", '"Uppercase" has to be lower case'),
        ("test:5000/Uppercase/lowercase:tag", '"Uppercase/lowercase" has to be lower case'),
        ("a b", '"a b" has to be lower case'),
        ("aa/asdf$$^/aa", '"aa/asdf$$^/aa" has to be lower case'),
        ("a//b", '"a//b" has to be lower case'),
        ("docker.io/", '"" has to be lower case'),
        ("https://github.com/docker/docker", '"https:" is not a registry'),
        ("-test.com/a", '"-test.com" is not a registry'),
        ("[fe80::1%25eth0]/a", '"[fe80::1%25eth0]" is not a registry'),
        (f"localhost/{'a/' * 128}a", "has to be lower case"),
        ("0123456789abcdef" * 4, "has to be lower case"),
        ("b:", 'the tag "" has to be at most 128'),
        ("b:-x", 'the tag "-x" has to be at most 128'),
        ("b:\u00fc", 'the tag "\u00fc" has to be at most 128'),
        ("b:" + "t" * 129, "has to be at most 128"),
        ("reg/x@sha256:12", 'the digest "sha256:12" has to be sha256: and 64'),
        (f"b@{_SHA256.upper()}", "has to be sha256: and 64"),
        (f"b@{_SHA256}\n", "has to be sha256: and 64"),
        ("b@md5:" + "0" * 32, "has to be sha256: and 64"),
        ("b@", 'the digest "" has to be sha256: and 64'),
    ],
)
def test_names_that_it_does_not(image: str, problem: str) -> None:
    assert problem in image_problem(image)
