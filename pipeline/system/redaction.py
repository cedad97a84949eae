"""Secrets that a URL may carry, and how it is shown and stored without them."""

import re
from typing import Any

HIDDEN = "***"
# `user:password@` after `://`; a secret key may hold slashes. A port is no secret, nor has `github://org:repo@ref` one.
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
    """`text`, a URL or a line that names some, with `***` for passwords, keys, and what signs a query.

    `redacted("https://h/w.pth?X-Amz-Signature=ab12&n=1") == "https://h/w.pth?X-Amz-Signature=***&n=1"`.
    """
    return _SIGNATURE.sub(rf"\1{HIDDEN}", _PASSWORD.sub(f"://{HIDDEN}@", text))


def without_secrets(record: Any) -> Any:
    """`record`, of dicts, lists and plain values, with every text `redacted`."""
    if isinstance(record, dict):
        return {name: without_secrets(value) for name, value in record.items()}
    if isinstance(record, list):
        return [without_secrets(value) for value in record]
    return redacted(record) if isinstance(record, str) else record


def has_password(url: str) -> bool:
    """Whether `user:password@` stands in `url`."""
    return _PASSWORD.search(url) is not None
