"""Documents by relevance and labels of texts."""

import pytest


def test_documents_come_in_the_order_of_their_scores(serve):
    client = serve()
    documents = ["first", {"text": "second, which is longer"}, "third"]
    for path in ("/v1/rerank", "/v2/rerank", "/rerank"):
        told = client.post(path, {"query": "q", "documents": documents}).json()
        scores = [r["relevance_score"] for r in told["results"]]
        assert scores == sorted(scores, reverse=True)
        assert sorted(r["index"] for r in told["results"]) == [0, 1, 2]
        assert all(0 <= s <= 1 for s in scores)
        texts = {r["index"]: r["document"]["text"] for r in told["results"]}
        assert texts == {0: "first", 1: "second, which is longer", 2: "third"}
    few = client.post(
        "/v1/rerank", {"query": "q", "documents": documents, "top_n": 1, "return_documents": False}
    ).json()
    assert [set(r) for r in few["results"]] == [{"index", "relevance_score"}]
    assert few["usage"]["prompt_tokens"] > 0


def test_labels_have_probabilities(serve):
    told = serve().post("/classify", {"input": ["a", "b"], "labels": ["cold", "warm", "hot"]}).json()
    assert [d["index"] for d in told["data"]] == [0, 1]
    for one in told["data"]:
        assert sum(one["probs"]) == pytest.approx(1)
        assert one["label"] == ["cold", "warm", "hot"][one["probs"].index(max(one["probs"]))]
        assert one["num_classes"] == 3


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/rerank", {"query": "q", "documents": []}, "documents"),
        ("/v1/rerank", {"query": "q", "documents": ["a"], "top_n": 0}, "top_n"),
        ("/v1/rerank", {"documents": ["a"]}, "query"),
        ("/classify", {"input": "a", "labels": ["x"]}, "labels"),
        ("/classify", {"input": "a", "labels": ["x", "x"]}, "labels"),
        ("/classify", {"input": [], "labels": ["x", "y"]}, "input"),
    ],
)
def test_bad_bodies_name_the_field(serve, path, body, param):
    answer = serve().post(path, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
