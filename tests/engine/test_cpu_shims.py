"""The repairs of vLLM's CPU backend; what they are for is tested in `test_sampling.py`."""

import importlib.util

import pytest


@pytest.fixture
def shims(vllm_cpu):
    from longtail.engine import cpu_shims

    cpu_shims.remove()
    yield cpu_shims
    cpu_shims.remove()
    cpu_shims.install()  # as the session's fixture left it


def functions():
    from vllm.v1.sample import rejection_sampler
    from vllm.v1.sample.ops import topk_topp_sampler

    found = {
        "expand_batch_to_tokens": rejection_sampler.expand_batch_to_tokens,
        "apply_top_k_only": topk_topp_sampler.apply_top_k_only,
    }
    if importlib.util.find_spec("vllm.triton_utils.dispatcher"):  # newer than 0.26.0
        from vllm.triton_utils import dispatcher

        found["_rebind_kernels"] = dispatcher._rebind_kernels
    return found


def test_repairs_what_is_wrong_once_and_can_be_undone(shims):
    own = functions()
    repaired = shims.install()
    if repaired == []:
        pytest.skip("this vLLM has none of the errors")
    changed = functions()
    assert {name for name in own if own[name] is not changed[name]} == set(repaired)
    assert shims.install() == repaired
    assert functions() == changed
    shims.remove()
    assert functions() == own
    assert shims.install() == repaired


def test_leaves_alone_what_is_right_and_what_is_no_cpu(shims, monkeypatch):
    own = functions()
    with monkeypatch.context() as patch:
        patch.setattr(shims, "current_platform", type("Gpu", (), {"is_cpu": lambda: False}))
        assert shims.install() == []
    assert functions() == own
    if "expand_batch_to_tokens" in shims.install():
        monkeypatch.setattr("vllm.utils.cpu_triton_utils._expand_kernel_impl", repaired_stand_in)
        assert not shims._expand_is_wrong()
    assert not shims._top_k_stops()
    assert not shims._rebind_stops()


def repaired_stand_in(output, values, ends, replace_from, replace_to, MAX_NUM_TOKENS):
    output.copy_(values.repeat_interleave(ends.diff(prepend=ends.new_zeros(1))))


def test_expands_each_request_s_value_to_its_drafts(shims):
    torch = pytest.importorskip("torch")
    shims.install()
    expand = functions()["expand_batch_to_tokens"]
    ends = torch.tensor([2, 2, 5, 6], dtype=torch.int32)
    temperature = torch.tensor([0.5, 9.0, 0.0, 0.8])
    found = expand(temperature, ends, 6, replace_from=0, replace_to=1)
    assert torch.equal(found, torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0, 0.8]))
    top_k = torch.tensor([3, 9, 5, 7], dtype=torch.int32)
    assert torch.equal(expand(top_k, ends, 6), torch.tensor([3, 3, 5, 5, 5, 7], dtype=torch.int32))
    assert expand(top_k, torch.zeros(4, dtype=torch.int32), 0).shape == (0,)


def test_top_k_without_rows_and_with(shims):
    torch = pytest.importorskip("torch")
    shims.install()
    top_k = functions()["apply_top_k_only"]
    assert top_k(torch.empty(0, 5), torch.empty(0, dtype=torch.int32)).shape == (0, 5)
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
    kept = top_k(logits, torch.tensor([1, 3], dtype=torch.int32)).isfinite()
    assert kept.tolist() == [[False, True, False], [True, True, True]]


def test_the_search_through_modules_passes_over_odd_objects(shims):
    """Numba's library is one, and its import would otherwise stop every later engine."""
    pytest.importorskip("llvmlite.binding")
    shims.install()
    functions().get("_rebind_kernels", list)([])
