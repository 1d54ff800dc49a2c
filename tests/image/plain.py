"""The profile `plain`: one container with its own database, started twice on one volume."""

import json

from tests.image.buildah import Buildah, say, timed
from tests.image.container import SECRET, USER_ID, Container, image_config, make_volume
from tests.support.fake_zapw import FakeZapw


def try_plain(buildah: Buildah) -> None:
    assert image_config(buildah)["User"] == "agent"
    volume = make_volume(buildah, "files")
    with FakeZapw(api_key="key-of-the-bridge") as bridge:
        bridge.add_session("sales", phone="5511999990000")
        env_file = {
            "WHATSAPP_BRIDGE": "zapw", "WHATSAPP_API_URL": bridge.url, "WHATSAPP_API_KEY": bridge.api_key,
            "WHATSAPP_WEBHOOK_SECRET": SECRET, "ALLOWED_HOSTS": Container.HOST, "HTTPS": "true",
            "AGENT_DEBOUNCE_S": "0.2",
        }  # fmt: skip
        for number, text in enumerate(("the first message", "a message after the restart"), start=1):
            container = Container(buildah, "agent", volume=volume, env_file=env_file)
            try:
                with timed(f"start {number}: healthy by the image's own health check"):
                    container.start()
                with timed("a webhook of the bridge is answered, and the reply sent"):
                    container.converse(bridge, text, count=number)
                counts = json.loads(container.manage("stats", "--json"))["messages"]["inbound"]
                assert sum(counts.values()) == number, counts  # those of before the restart are there
                with timed("`docker compose exec agent python manage.py doctor` finds nothing wrong"):
                    say(container.manage("doctor").replace("\n", "\n            "))
                with timed("SIGTERM: ended in order, with 0"):
                    container.stop()
            finally:
                container.remove()
    assert volume.stat().st_uid == USER_ID
    say("The image holds what compose.yaml and docs/containers.md say of `plain`.")
