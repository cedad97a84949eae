import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vit_tickets.pipeline.system.errors import StorageError, UserError, WorkFailed
from vit_tickets.pipeline.system.redaction import has_password, redacted, without_secrets

SCHEME, USER = st.sampled_from(["s3", "https", "ftp"]), st.text("abcK12", min_size=1)
SECRET = st.text("abcXYZ019/+=-_.~%!$", min_size=6).filter(lambda text: not text[0].isdigit())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://KEY:SEC/R+T=@bucket/data", "s3://***@bucket/data"),
        ("s3://KEY:12/RET@bucket/data", "s3://***@bucket/data"),
        ("https://me:pw@host:8080/a?b=1", "https://***@host:8080/a?b=1"),
        (
            "https://h/w.pth?X-Amz-Credential=K%2Fd&X-Amz-Signature=ab12&n=1",
            "https://h/w.pth?X-Amz-Credential=***&X-Amz-Signature=***&n=1",
        ),
        (
            "https://a.blob.core.windows.net/c/w?sv=2024&sig=ab%3D&se=x",
            "https://a.blob.core.windows.net/c/w?sv=2024&sig=***&se=x",
        ),
        ("https://h/w?access_token=ab", "https://h/w?access_token=***"),
        ("simplecache::s3://K:S@bucket/a", "simplecache::s3://***@bucket/a"),
    ],
)
def test_secrets_are_hidden_and_the_rest_stays(url, shown):
    assert redacted(url) == shown
    assert redacted(f"cannot read {url}: [Errno 5] 'x'") == f"cannot read {shown}: [Errno 5] 'x'"
    assert redacted(shown) == shown


@pytest.mark.parametrize(
    "plain",
    [
        "s3://bucket/a:b@c",
        "http://127.0.0.1:9000/a@b",
        "https://host:443",
        "abfs://container@account/x",
        "github://org:repo@main/x",
        "gs://bucket/x?versionId=12",
        "data/imagenet",
        "C:/a@b",
        "sftp://me@host/x",
        "expected a: b@c, found d",
        "s3://bucket/monkey=1?design=2",
    ],
)
def test_what_is_no_secret_is_left_alone(plain):
    assert redacted(plain) == plain
    assert not has_password(plain)


@settings(max_examples=50)
@given(SCHEME, USER, SECRET)
def test_no_password_is_left(scheme, user, password):
    url = f"{scheme}://{user}:{password}@host/path"
    assert redacted(url) == f"{scheme}://***@host/path"
    assert has_password(url)


def test_records_are_cleaned_to_the_bottom():
    record = {"init": "https://h/w?sig=ab", "list": [{"a": "s3://K:S@b"}, 1, None], "n": 2.5}
    assert without_secrets(record) == {"init": "https://h/w?sig=***", "list": [{"a": "s3://***@b"}, 1, None], "n": 2.5}


@pytest.mark.parametrize(("kind", "status"), [(UserError, 2), (StorageError, 1), (WorkFailed, 1)])
def test_no_error_shows_a_secret(kind, status):
    error = kind("cannot read https://u:p@h/x?Signature=ab")
    assert str(error) == "cannot read https://***@h/x?Signature=***"
    assert error.exit_code == status
    if issubclass(kind, UserError):
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (how it comes from a loader worker)
        assert type(copy) is kind
        assert str(copy) == str(error)
