"""The demo's offices become nodes without questions: both sides' own steps, on their folders. Floor: simulate.

What differs from an enrolment of a real office is the telephone call: nobody reads out digits to himself.
"""

import logging

from central_sync.config import HubConfig
from central_sync.serving import resting
from edge_node.config import NodeConfig
from edge_node.serving import key_domain
from edge_node.uplink.identity import NodeIdentity
from gridmodel.clock import Entropy
from hosting.clocks import ScaledClock
from hosting.config import load_toml
from hosting.instance import make_data_folder
from hosting.keys import create_signing_key
from hosting.keys_certificates import CertificateAuthority
from hosting.log import LogForm, configure_log
from protocols.authority.signatures import Signer
from protocols.enrolment.messages import EnrolRequest, Token
from simulate.demo.files import DemoFiles
from simulate.demo.plan import PROLOGUE_DAY, DemoPlan, moment

OPERATOR = "operator-of-the-demo"


async def enrol_all(files: DemoFiles, plan: DemoPlan, entropy: Entropy) -> None:
    """Make the hub's authority, and every office's keys and certificate. Raises the Fault of what could not be made."""
    hub_config, begin = load_toml(files.hub, HubConfig, {}), moment("00:00", PROLOGUE_DAY)
    if hub_config.tls is None:
        return
    authority = CertificateAuthority.make(hub_config.tls.ca, hub_config.key_domain, begin, entropy)
    clock = ScaledClock(begin, 0.0, 1.0, wall=lambda: 0.0, monotonic=lambda: 0.0)
    configure_log(LogForm.CONSOLE, clock.now, level=logging.ERROR)  # a watcher is told the story, not these steps
    async with resting(hub_config, clock=clock, entropy=entropy) as hub:
        for node in plan.nodes:
            config = load_toml(files.node(node.id), NodeConfig, {})
            make_data_folder(config.data_dir)
            signer = Signer(create_signing_key(config.keys.signing, entropy, key_domain(config)), config.domain)
            identity = NodeIdentity(config.identity_dir, config.node_id, key_domain(config))
            token = Token.from_text((await hub.enrolments.token(node.id, 1, OPERATOR))["token"])
            request = identity.key(entropy).request(identity.node)
            identity.trust(authority.certificate.pem, token)
            asked = EnrolRequest.made(identity.node, token.secret, request, signer)
            reply = await hub.enrolments.request(asked)
            await hub.enrolments.approve(reply.enrolment, reply.fingerprint, OPERATOR)
            identity.accept((await hub.enrolments.state(reply.enrolment)).certificate)
