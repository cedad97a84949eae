"""Hide the secrets in URLs before they are shown or stored."""

import re
from typing import Any

HIDDEN = "***"
# `user:password@` after `://`. A secret key may contain slashes. A port and `github://org:repo@ref` are not secret.
_PASSWORD = re.compile(
    r"(?:(?<=s3)|(?<=s3a))://[^\s/@:'\"]*:[^\s'\"]*@"
    r"|(?<!github)://[^\s/@:'\"]*:(?!\d{1,5}(?:[/\s'\"]|$))[^\s'\"]*@"
)
_SIGNATURE = re.compile(
    r"([?&;](?:x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid|signature|sig|"
    r"policy|key-pair-id|(?:\w+[-_])?(?:token|key|password|secret))=)[^\s&;#'\"]*[^\s&;#'\":,.]",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """Replace the passwords, keys and query signatures of all URLs in `text` by `***`.

    `redacted("https://h/w.pth?X-Amz-Signature=ab12&n=1") == "https://h/w.pth?X-Amz-Signature=***&n=1"`.
    """
    return _SIGNATURE.sub(rf"\1{HIDDEN}", _PASSWORD.sub(f"://{HIDDEN}@", text))


def without_secrets(record: Any) -> Any:
    """A copy of `record` (dicts, lists and plain values) with every string `redacted`."""
    if isinstance(record, dict):
        return {name: without_secrets(value) for name, value in record.items()}
    if isinstance(record, list):
        return [without_secrets(value) for value in record]
    return redacted(record) if isinstance(record, str) else record


def has_password(url: str) -> bool:
    """Whether `url` contains `user:password@`."""
    return _PASSWORD.search(url) is not None
