"""Verbs of the local door about enrolment. Room: identity; on no walk."""

from collections.abc import Mapping
from typing import Any

from central_sync.identity.enrolment import Enrolments
from hosting.door import Verb
from hosting.keys_certificates import CertificateFault


def enrolment_verbs(enrolments: Enrolments) -> Mapping[str, Verb]:
    """All by name."""

    async def token(body: dict[str, Any]) -> dict[str, Any]:
        hours = body.get("hours")
        return await enrolments.token(_text(body, "node"), hours if type(hours) is int else 0, _text(body, "by"))

    async def approve(body: dict[str, Any]) -> dict[str, Any]:
        return await enrolments.approve(_text(body, "enrolment"), _text(body, "fingerprint"), _text(body, "by"))

    async def reject(body: dict[str, Any]) -> dict[str, Any]:
        return await enrolments.reject(_text(body, "enrolment"), _text(body, "by"), _text(body, "why"))

    async def revoke(body: dict[str, Any]) -> dict[str, Any]:
        return await enrolments.revoke(_text(body, "node"), _text(body, "by"), _text(body, "why"))

    async def listed(_: dict[str, Any]) -> dict[str, Any]:
        return await enrolments.listed()

    return {
        "enrol-token": token,
        "enrol-approve": approve,
        "enrol-reject": reject,
        "enrol-revoke": revoke,
        "enrol-list": listed,
    }


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise CertificateFault(41, f"{name} is no text", "use the commands of central-sync", 400)
    return value
