"""Triton's client over HTTP, JSON or with binary tensors."""

from typing import Any

import checks
import numpy as np
import tritonclient.http as triton
from checks import check, refused, same

client = triton.InferenceServerClient(checks.address(), concurrency=16)


def given(name: str, array: np.ndarray, datatype: str = "FP32", *, binary: bool = True) -> Any:
    return triton.InferInput(name, array.shape, datatype).set_data_from_numpy(array, binary_data=binary)


@check(1)
def health() -> None:
    same([client.is_server_live(), client.is_server_ready()], [True, True])


@check(2)
def ready() -> None:
    same([client.is_model_ready("cloud"), client.is_model_ready("absent")], [True, False])


@check(3)
def server() -> None:
    same(client.get_server_metadata()["name"], "tidegate")


@check(4)
def metadata() -> None:
    found = client.get_model_metadata("cloud")
    same([found["inputs"][0][it] for it in ("name", "datatype")], ["x", "FP32"])


@check(5)
def infer() -> None:
    same(client.infer("cloud", [given("x", checks.ROWS)]).as_numpy("logits"), 10 * checks.ROWS)


@check(6)
def infer_json() -> None:
    wanted = [triton.InferRequestedOutput("logits", binary_data=False)]
    answer = client.infer("cloud", [given("x", checks.ROWS, binary=False)], outputs=wanted)
    same(answer.as_numpy("logits"), 10 * checks.ROWS)


@check(7)
def outputs() -> None:
    one = np.ones(2, np.float32)
    wanted = [triton.InferRequestedOutput("sum")]
    answer = client.infer("arithmetic", [given("a", one), given("b", one)], outputs=wanted)
    same(answer.as_numpy("sum"), one + one)
    same(len(answer.get_response()["outputs"]), 1)


@check(8)
def text() -> None:
    same(client.infer("text", [given("x", checks.TEXT, "BYTES")]).as_numpy("y"), checks.TEXT)


@check(9)
def image() -> None:
    same(
        client.infer("colour", [given("x", checks.jpeg(), "BYTES")]).as_numpy("logits").round(-1),
        checks.GREEN,
    )


@check(10)
def half() -> None:
    same(client.infer("half", [given("x", checks.HALVES, "FP16")]).as_numpy("y"), checks.HALVES)


@check(11)
def classes() -> None:
    wanted = [triton.InferRequestedOutput("logits", class_count=1)]
    answer = client.infer("cloud", [given("x", checks.ROWS)], outputs=wanted).as_numpy("logits")
    same([it.decode().rpartition(":")[2] for it in answer.ravel()], ["red", "green", "blue"])


@check(12)
def request_id() -> None:
    answer = client.infer("cloud", [given("x", checks.ROWS)], request_id="seven")
    same(answer.get_response()["id"], "seven")


@check(13)
def schedule() -> None:
    answer = client.infer("cloud", [given("x", checks.ROWS)], priority=1, timeout=10_000_000)
    same(answer.as_numpy("logits"), 10 * checks.ROWS)


@check(14)
def together() -> None:
    under_way = [client.async_infer("cloud", [given("x", number * checks.ROWS)]) for number in range(16)]
    for number, it in enumerate(under_way):
        same(it.get_result(timeout=20).as_numpy("logits"), number * 10 * checks.ROWS)


@check(16)
def statistics() -> None:
    found = client.get_inference_statistics("cloud")["model_stats"]
    same([it["name"] for it in found], ["cloud"])
    assert found[0]["inference_count"] > 0


@check(17)
def repository() -> None:
    def names() -> set[str]:
        return {it["name"] for it in client.get_model_repository_index() if it["state"] == "READY"}

    client.unload_model("net")
    assert "net" not in names()
    client.load_model("net")
    assert "net" in names()


@check(18)
def refusal() -> None:
    with refused(triton.InferenceServerException):
        client.infer("cloud", [given("x", np.zeros((1, 4), np.float32))])


checks.main()
