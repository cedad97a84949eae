"""An S3 server for the session, and a bucket of its own for every test that asks for one."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVER = [sys.executable, "-m", "tests.integration.storage.server"]


@pytest.fixture(scope="session")
def server() -> Iterator[Callable[..., dict[str, int]]]:
    """An S3 server that the environment names; called with `share`, `seed`, `hold`, it fails as server.py
    says, and returns its count of answers."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install -e '.[s3]'")
    pytest.importorskip("moto", reason="moto is not installed: pip install -e '.[test]'")
    with (
        subprocess.Popen(SERVER, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        pytest.MonkeyPatch.context() as environment,
    ):
        import s3fs  # while the server starts

        try:
            endpoint = f"http://127.0.0.1:{int(process.stdout.readline())}"
            for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "HTTP_PROXY", "http_proxy"):
                environment.delenv(name, raising=False)
            environment.setenv("AWS_ENDPOINT_URL", endpoint)
            environment.setenv("AWS_ACCESS_KEY_ID", "testing")
            environment.setenv("AWS_SECRET_ACCESS_KEY", "testing")
            environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
            environment.setenv("AWS_EC2_METADATA_DISABLED", "true")

            def settle(**options) -> dict[str, int]:
                query = "&".join(f"{name}={value}" for name, value in options.items())
                with urllib.request.urlopen(f"{endpoint}/faults?{query}") as answer:  # noqa: S310 (loopback)
                    return json.load(answer)

            s3fs.S3FileSystem.clear_instance_cache()
            yield settle
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            process.kill()


@pytest.fixture
def bucket(server, request) -> Iterator[str]:
    """URL of a bucket of the test's own; the server that it is on does not fail until told to."""
    import s3fs

    name = f"bucket-{abs(hash(request.node.nodeid)):x}"
    s3fs.S3FileSystem(use_listings_cache=False).mkdir(name)
    yield f"s3://{name}"
    server(share=0, hold=0)
