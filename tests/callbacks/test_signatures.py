from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from genway.callbacks import signatures

BODY = '{"task":"t1","prompt":"一只猫"}'.encode()


def test_a_receiver_with_the_standard_library_accepts_the_signature() -> None:
    secret = signatures.new_secret()
    headers = signatures.sign(secret, "cb_1", time.time(), BODY)
    assert Webhook(secret).verify(BODY, headers) == {"task": "t1", "prompt": "一只猫"}


def test_the_signature_is_the_one_in_the_standard() -> None:
    """The example of the specification's own test vectors."""
    headers = signatures.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330.9, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_whatever_is_changed_on_the_way_breaks_the_signature(change: str) -> None:
    secret = signatures.new_secret()
    headers = signatures.sign(secret, "cb_1", time.time(), BODY)
    body = BODY
    if change == "body":
        body = BODY.replace(b"t1", b"t2")
    elif change == "id":
        headers["webhook-id"] = "cb_2"
    elif change == "time":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 1)
    else:
        secret = signatures.new_secret()
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_an_old_signature_is_refused_as_a_replay() -> None:
    secret = signatures.new_secret()
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(secret).verify(BODY, signatures.sign(secret, "cb_1", time.time() - 301, BODY))


def test_secrets_differ_and_carry_256_random_bits() -> None:
    secrets = {signatures.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(base64.b64decode(secret.removeprefix("whsec_"))) for secret in secrets} == {32}
