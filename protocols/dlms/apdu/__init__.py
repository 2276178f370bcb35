"""Every APDU we know, as a value that encodes itself, and one function that decodes any. Floor: protocols; reading.

On the walk of a reading: `association` (client) and `meter_side` (server) make these values, a carrier moves their
bytes, `decode_apdu` on the other side gives the same values back.
"""

from collections.abc import Callable
from typing import TypeAlias

from protocols.dlms.apdu.acse import (
    AARE,
    AARQ,
    RLRE,
    RLRQ,
    Aare,
    Aarq,
    Rlre,
    Rlrq,
    read_aare,
    read_aarq,
    read_rlre,
    read_rlrq,
)
from protocols.dlms.apdu.action import ActionRequest, ActionResponse, read_action_request, read_action_response
from protocols.dlms.apdu.get import GetRequest, GetResponse, read_get_request, read_get_response
from protocols.dlms.apdu.initiate import (
    InitiateRequest,
    InitiateResponse,
    read_initiate_request,
    read_initiate_response,
)
from protocols.dlms.apdu.notices import (
    ConfirmedServiceError,
    DataNotification,
    EventNotification,
    ExceptionResponse,
    read_data_notification,
    read_event_notification,
    read_exception,
    read_service_error,
)
from protocols.dlms.apdu.sealed import OPEN_TAGS, Sealed, read_sealed
from protocols.dlms.apdu.setting import SetRequest, SetResponse, read_set_request, read_set_response
from protocols.dlms.axdr import Reader
from protocols.dlms.faults import cut_short, remote_fault

Apdu: TypeAlias = (
    Aarq
    | Aare
    | Rlrq
    | Rlre
    | InitiateRequest
    | InitiateResponse
    | GetRequest
    | GetResponse
    | SetRequest
    | SetResponse
    | ActionRequest
    | ActionResponse
    | DataNotification
    | EventNotification
    | ExceptionResponse
    | ConfirmedServiceError
    | Sealed
)

_READERS: dict[int, Callable[[Reader], Apdu]] = {
    AARQ: read_aarq,
    AARE: read_aare,
    RLRQ: read_rlrq,
    RLRE: read_rlre,
    0x01: read_initiate_request,
    0x08: read_initiate_response,
    0x0E: read_service_error,
    0x0F: read_data_notification,
    0xC0: read_get_request,
    0xC1: read_set_request,
    0xC2: read_event_notification,
    0xC3: read_action_request,
    0xC4: read_get_response,
    0xC5: read_set_response,
    0xC7: read_action_response,
    0xD8: read_exception,
}


def decode_apdu(data: bytes) -> Apdu:
    """The one APDU that fills `data`; a ciphered one comes as `Sealed`.

    Raises:
        DlmsFault: TQ-DM-01 cut short, 02 malformed, 03 a limit, 04 bytes left over, 05 no APDU we know.

    """
    if not data:
        raise cut_short("an APDU")
    reader, tag = Reader(data, 1), data[0]
    reading = _READERS.get(tag)
    if reading is not None:
        apdu = reading(reader)
    elif tag in OPEN_TAGS:
        apdu = read_sealed(reader, tag)
    else:
        raise remote_fault("TQ-DM-05", f"0x{tag:02X} begins no APDU that is known here")
    if reader.at != len(data):
        reader.end()
    return apdu
