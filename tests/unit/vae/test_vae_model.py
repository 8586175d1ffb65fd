# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from vae_examples import (
    NONE,
    gaussian,
    linear_gaussian,
    random_rows,
    small_batch,
    small_model,
    three_batch,
    three_model,
)

from specvae.errors import ConfigError
from specvae.vae.config import Modality, ModelConfig, ObjectiveConfig, Variance
from specvae.vae.distributions import (
    Bernoulli,
    Categorical,
    MixtureOfNormals,
    Normal,
    SparseGaussian,
    kl_divergence,
    product,
)
from specvae.vae.kinds import MODEL_KINDS
from specvae.vae.model import MultimodalVAE
from specvae.vae.networks import ConvLayer, NetworkConfig
from specvae.vae.objective import loss
from specvae.vae.posteriors import GaussianHead


def n_numbers(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_product_posterior_has_four_networks_and_the_formulas_of_eqs_11_and_13() -> None:
    # Discrepancies 1 and 3: the prior expert is an option; q* is an ordinary network.
    for prior_expert in (True, False):
        model = small_model(prior_expert=prior_expert)
        assert set(model.posteriors.heads) == {"a->a", "a->b", "b->a", "b->b"}
        assert len(model.posteriors.bodies) == 4
        x = small_batch()
        encoded = model.encode(x)
        q = {key: encoded.expert(*key.split("->")) for key in model.posteriors.heads}
        for given, keys in ((["a", "b"], "a->a b->b"), (["a"], "a->a a->b"), (["b"], "b->a b->b")):
            expected = product([q[key] for key in keys.split()], prior_expert)
            found = gaussian(model, x, given)
            torch.testing.assert_close(found.mean, expected.mean)
            torch.testing.assert_close(found.logvar, expected.logvar)


def test_posterior_given_one_modality_does_not_look_at_the_other() -> None:
    for kind in ("product", "product_own", "joint"):
        model, x = small_model(kind), small_batch()
        alone = gaussian(model, {"a": x["a"]})
        within = gaussian(model, x, ["a"])
        assert torch.equal(alone.mean, within.mean)
        assert not torch.equal(alone.mean, gaussian(model, x).mean)


def test_joint_posterior_concatenates_bodies_then_joins_them() -> None:
    model = small_model("joint", joint_hidden=9)
    assert set(model.posteriors.heads) == {"a", "b", "a+b"}
    x, nets = small_batch(), model.posteriors
    join = model.get_submodule("posteriors.joins.a+b.0")
    parts = [nets.bodies["a->a+b"](x["a"]), nets.bodies["b->a+b"](x["b"])]
    hidden = torch.relu(torch.nn.functional.linear(torch.cat(parts, 1), *join.parameters()))
    assert hidden.shape == (5, 9)
    torch.testing.assert_close(gaussian(model, x).mean, nets.heads["a+b"](hidden).mean)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_networks_and_parameters_grow_as_n_squared_and_n_times_two_to_the_n_minus_one(
    n: int,
) -> None:
    layers = NetworkConfig((4,))
    modalities = tuple(Modality(f"m{i}", 5, layers, layers) for i in range(n))
    body, head = 5 * 4 + 4, 4 * 4 + 4  # 5 columns to 4 hidden units to 2 means and log-variances
    single = body + head

    def sizes(posterior: str, **options: object) -> tuple[int, int, int]:
        config = ModelConfig(modalities, 2, posterior, **options)  # type: ignore[arg-type]
        model = MultimodalVAE(config)
        assert model.n_parameters == n_numbers(model.posteriors) + n_numbers(model.decoders)
        nets = model.posteriors
        return len(nets.bodies), len(nets.heads), n_numbers(nets)

    assert sizes("product") == (n * n, n * n, n * n * single)
    for posterior in ("product_own", "mixture", "mixture_of_products"):
        assert sizes(posterior) == (n, n, n * single)
    # A subset of k has k bodies, a layer that joins them (unless k is 1), and a head.
    joins = [k * 4 * 4 + 4 for k in range(n + 1)]
    n_subsets = [math.comb(n, k) for k in range(n + 1)]
    joined = sum(n_subsets[k] * joins[k] for k in range(2, n + 1))
    n_bodies = n * 2 ** (n - 1)
    wanted = n_bodies * body + (2**n - 1) * head + joined
    assert sizes("joint") == (n_bodies, 2**n - 1, wanted)
    # Without that layer, the head reads all bodies.
    heads = sum(n_subsets[k] * (k * 4 * 4 + 4) for k in range(1, n + 1))
    assert sizes("joint", joint_hidden=0) == (n_bodies, 2**n - 1, n_bodies * body + heads)
    if n > 1:
        full = 2 * n * body + (n + 1) * head + joins[n]
        assert sizes("joint_full") == (2 * n, n + 1, full)
        bridges = sum(n_subsets[k] * (k * 4 * 4 + 4) for k in range(2, n + 1))
        assert sizes("bridge") == (n, n + 2**n - 1 - n, n * single + bridges)


@pytest.mark.parametrize("kind", sorted(MODEL_KINDS))
def test_any_subset_of_three_can_be_given(kind: str) -> None:
    posterior = MODEL_KINDS[kind].posterior
    model, x = three_model(posterior), three_batch()
    before: list[torch.Tensor] = []
    for size in (1, 2, 3):
        for given in combinations("abc", size):
            q = model.posterior(x, given)
            # What is not given is not looked at, and need not be there.
            alone = model.posterior({name: x[name] for name in given})
            torch.testing.assert_close(alone.mean, q.mean)
            assert q.mean.shape == (5, 3)
            assert not any(torch.allclose(q.mean, other) for other in before)
            before.append(q.mean)
            # Everything given has a say, for each row by itself.
            for name in given:
                changed = {**x, name: x[name].roll(1, 0)}
                assert not torch.allclose(model.posterior(changed, given).mean, q.mean)
            first = model.posterior({name: x[name][:1] for name in given}, given)
            torch.testing.assert_close(first.mean, q.mean[:1])
            for target, n in (("a", 6), ("b", 4), ("c", 3)):
                out = model.generate(x, target, given, n_samples=2)
                assert out.mean.shape == (2, 5, n)
            expected = {
                "product": {1: 1, 2: 2, 3: 1},
                "mixture": {1: 1, 2: 2, 3: 3},
                "mixture_of_products": {1: 1, 2: 3, 3: 7},
            }
            n_components = expected.get(posterior, {}).get(size, 1)
            assert len(q.components) == n_components
            z = q.sample(2)
            assert z.shape == (2, 5, 3)
            assert q.log_prob(z).shape == (2, 5)
            assert isinstance(q, Normal if n_components == 1 else MixtureOfNormals)


@pytest.mark.parametrize("prior_expert", [True, False])
def test_mixture_of_products_has_the_product_of_every_subset(prior_expert: bool) -> None:
    model = three_model("mixture_of_products", prior_expert=prior_expert)
    x = three_batch()
    own = {name: model.encode(x).expert(name, name) for name in "abc"}
    for given in ("abc", "ac", "b"):
        subsets = [s for size in (1, 2, 3) for s in combinations(given, size)]
        q = model.posterior(x, given)
        for subset, found in zip(subsets, q.components, strict=True):
            precision = sum(own[name].logvar.neg().exp() for name in subset) + prior_expert
            mean = sum(own[name].mean * own[name].logvar.neg().exp() for name in subset) / precision
            torch.testing.assert_close(found.mean, mean)
            torch.testing.assert_close(found.logvar.neg().exp(), precision)
        z = q.sample(3)
        each = torch.stack([component.log_prob(z) for component in q.components])
        torch.testing.assert_close(q.log_prob(z).exp(), each.exp().mean(0))


def test_subsets_without_a_network_are_products_of_single_posteriors() -> None:
    # JMVAE has a network for all and one for each; the single ones hold the prior already.
    model, x = three_model("joint_full"), three_batch()
    assert set(model.posteriors.heads) == {"a", "b", "c", "a+b+c"}
    expected = product([gaussian(model, x, ["a"]), gaussian(model, x, ["c"])], prior_expert=False)
    found = gaussian(model, x, ["c", "a"])
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.logvar, expected.logvar)


def test_the_decoder_of_a_categorical_modality_gives_classes_at_each_place() -> None:
    layers = NetworkConfig((6,))
    words = Modality(
        "w", 4, replace(layers, embedding=3), NetworkConfig((8,)), "categorical",
        n_classes=7, ignored_class=0,
    )  # fmt: skip
    model = MultimodalVAE(ModelConfig((words, Modality("a", 5, layers, layers)), 2))
    x = {"w": torch.randint(0, 7, (3, 4)), "a": torch.rand(3, 5)}
    p = model.generate(x, "w", ["a"], n_samples=2)
    assert isinstance(p, Categorical)
    assert p.logits.shape == (2, 3, 4, 7)
    assert p.ignored == 0
    loss(model, x, {"w": x["w"]}, ObjectiveConfig()).total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    # The places share the last layer: 8 hidden units are 2 for each of the 4.
    assert n_numbers(model.decoders["w"]) == (2 * 8 + 8) + (2 * 7 + 7)
    with pytest.raises(ConfigError, match="gives 7 numbers, wanted a multiple of its 4 tokens"):
        MultimodalVAE(ModelConfig((replace(words, decoder=NetworkConfig((7,))),), 2))
    with pytest.raises(ConfigError, match="no bias for each feature"):
        model.start_at({"w": torch.zeros(4)})


def test_a_decoder_that_ends_in_convolutions_fits_its_modality() -> None:
    grow = (ConvLayer(1, (2, 2), (2, 2), activation=False),)
    decoder = NetworkConfig((6,), convolutions=grow, shape=(1, 2, 3))
    modality = Modality("a", 24, NetworkConfig((4,)), decoder)
    model = MultimodalVAE(ModelConfig((modality,), 2))
    assert model.likelihood(torch.randn(5, 2), "a").mean.shape == (5, 24)
    with pytest.raises(ConfigError, match="convolutions give 24 numbers, wanted 20"):
        MultimodalVAE(ModelConfig((replace(modality, n_features=20),), 2))
    with pytest.raises(ConfigError, match="no bias for each feature"):
        model.start_at({"a": torch.zeros(24)})


def test_three_modalities_given_one_all_or_a_subset() -> None:
    layers = NetworkConfig((4,))
    modalities = tuple(Modality(name, 5, layers, layers) for name in ("a", "b", "c"))
    x = {name: torch.rand(3, 5) for name in ("a", "b", "c")}
    model = MultimodalVAE(ModelConfig(modalities, 2))
    encoded = model.encode(x)
    stand_ins = [encoded.expert("b", target) for target in ("a", "b", "c")]
    torch.testing.assert_close(encoded.posterior(["b"]).mean, product(stand_ins, True).mean)
    own = [encoded.expert(name, name) for name in ("a", "b", "c")]
    torch.testing.assert_close(encoded.posterior().mean, product(own, True).mean)
    # Given two, either can speak for the third (eqs 36-38).
    both = [encoded.expert(name, name) for name in ("a", "b")]
    speakers = [product([*both, encoded.expert(name, "c")], True) for name in ("a", "b")]
    pair = encoded.posterior(["a", "b"])
    assert len(pair.components) == 2
    for found, expected in zip(pair.components, speakers, strict=True):
        torch.testing.assert_close(found.mean, expected.mean)
        torch.testing.assert_close(found.logvar, expected.logvar)


def test_substitutes_of_infinite_variance_turn_svae_into_vaevae_a() -> None:
    svae, own = small_model("product"), small_model("product_own")
    shared = {k: v for k, v in svae.state_dict().items() if k in own.state_dict()}
    own.load_state_dict(shared)
    with torch.no_grad():
        for key in ("a->b", "b->a"):
            svae.get_parameter(f"posteriors.heads.{key}.linear.bias")[3:] = math.inf
    x = small_batch()
    for given in (["a"], ["b"], ["a", "b"]):
        ours, theirs = gaussian(svae, x, given), gaussian(own, x, given)
        torch.testing.assert_close(ours.mean, theirs.mean)
        torch.testing.assert_close(ours.logvar, theirs.logvar)


def test_shared_bodies_halve_the_encoders() -> None:
    model = small_model(share_body=True)
    assert set(model.posteriors.bodies) == {"a", "b"}
    separate = small_model()
    assert n_numbers(separate.posteriors.bodies) == 2 * n_numbers(model.posteriors.bodies)
    assert model.n_parameters < separate.n_parameters
    assert set(small_model("joint", share_body=True).posteriors.bodies) == {"a", "b"}


@pytest.mark.parametrize(
    ("kind", "shared", "expected"),
    [
        ("product", False, 4),
        ("product", True, 2),
        ("product_own", False, 2),
        ("joint", False, 4),
    ],
)
def test_each_network_runs_once_for_all_posteriors(kind: str, shared: bool, expected: int) -> None:
    model = small_model(kind, share_body=shared)
    calls: list[str] = []
    for name, body in model.posteriors.bodies.items():
        body.register_forward_hook(lambda *_, name=name: calls.append(name))
    encoded = model.encode(small_batch())
    for given in (None, ["a"], ["b"], ["a", "b"], ["a"]):
        encoded.posterior(given)
    assert len(calls) == len(set(calls)) == expected


def test_parameter_count_includes_the_joint_network() -> None:
    # Discrepancy 11.
    def encoder(n: int) -> int:
        return (n * 7 + 7) + (7 * 6 + 6)

    decoders = (3 * 7 + 7) * 2 + (7 * 6 + 6) + (7 * 4 + 4)
    joint = (6 * 7 + 7) + (5 * 7 + 7) + (14 * 7 + 7) + (7 * 6 + 6)
    assert small_model("joint").n_parameters == encoder(6) + encoder(5) + joint + decoders
    assert small_model("product").n_parameters == 2 * (encoder(6) + encoder(5)) + decoders


def test_context_columns_are_seen_but_not_reconstructed() -> None:
    model, x = small_model(), small_batch()
    q = gaussian(model, x, ["b"])
    changed = x["b"].clone()
    changed[:, 4] += 1.0
    assert not torch.equal(q.mean, gaussian(model, {"b": changed}).mean)
    assert model.likelihood(q.mean, "b").mean.shape == (5, 4)


@pytest.mark.parametrize(("variance", "power"), [("softplus_var", 1), ("softplus_sd", 2)])
def test_variance_by_softplus_is_stable_in_both_tails(variance: Variance, power: int) -> None:
    head = GaussianHead(1, replace(small_model().config, n_latent=1, variance=variance))
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[0.0], [1.0]]))
        head.linear.bias.zero_()
    raw = torch.tensor([[-300.0], [-16.0], [-14.0], [0.0], [30.0]], requires_grad=True)
    logvar = head(raw).logvar
    exact = torch.nn.functional.softplus(raw.double()).log() * power
    torch.testing.assert_close(logvar.double(), exact, atol=1e-5, rtol=1e-6)
    logvar.sum().backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


def test_initial_logvar_is_where_the_encoders_start() -> None:
    torch.manual_seed(0)
    config = replace(small_model("joint").config, initial_logvar=-3.0)
    model, x = MultimodalVAE(config), small_batch()
    for given in (["a"], ["b"], ["a", "b"]):
        assert (gaussian(model, x, given).logvar + 3.0).abs().max() < 1.5
    with pytest.raises(ConfigError, match="needs variance logvar"):
        replace(config, variance="softplus_sd")


def test_decoders_can_start_at_the_data_mean() -> None:
    model = small_model()
    for modality in model.config.modalities:
        mean = torch.linspace(0.1, 0.9, modality.n_features)
        model.start_at({modality.name: mean})
        decoder = model.decoders[modality.name]
        with torch.no_grad():
            decoder.output.weight.zero_()  # type: ignore[union-attr,operator]
        reached = model.likelihood(torch.randn(3, model.config.n_latent), modality.name).mean
        torch.testing.assert_close(reached, mean.expand(3, -1))
    # A bit that is never set starts at odds of one in a thousand, not at minus infinity.
    name = next(m.name for m in model.config.modalities if m.likelihood == "bernoulli")
    model.start_at({name: torch.zeros(model.modality(name).n_features)})
    assert model.decoders[name].output.bias.isfinite().all()  # type: ignore[union-attr,operator]
    with pytest.raises(ConfigError, match="no modality"):
        model.start_at({"absent": torch.zeros(1)})


def test_bfloat16_autocast_keeps_product_and_kl_in_float32() -> None:
    for kind in ("product", "joint"):
        model, x = small_model(kind), small_batch()
        with torch.autocast("cpu", torch.bfloat16):
            assert model.posteriors.bodies["a->a"](x["a"]).dtype is torch.bfloat16
            q, single = gaussian(model, x), gaussian(model, x, ["a"])
            kl = kl_divergence(q, single)
            assert {q.mean.dtype, q.logvar.dtype, kl.dtype} == {torch.float32}
            assert model.likelihood(q.mean, "a").log_prob(x["a"]).dtype is torch.float32
        halves = [gaussian(model, x, [name]) for name in ("a", "b")]
        assert torch.equal(kl, kl_divergence(q, single))
        with torch.autocast("cpu", torch.bfloat16):
            inside = product(halves, prior_expert=True)
        assert torch.equal(inside.mean, product(halves, prior_expert=True).mean)


def test_sparse_and_dense_inputs_give_the_same_model() -> None:
    layers = NetworkConfig((8,))
    sparse = Modality("s", 15, layers, layers, "gaussian", n_context=5, sparse=True)
    model = MultimodalVAE(ModelConfig((sparse, Modality("f", 6, layers, layers)), 3))
    x = random_rows(9, 20)
    q, dense = gaussian(model, {"s": x}), gaussian(model, {"s": x.to_dense()})
    torch.testing.assert_close(q.mean, dense.mean, atol=1e-5, rtol=0)
    likelihood = model.likelihood(q.mean, "s")
    assert isinstance(likelihood, SparseGaussian)
    target = x.to_dense(15)
    torch.testing.assert_close(
        likelihood.log_prob(x), likelihood.log_prob(target), atol=1e-4, rtol=0
    )
    assert isinstance(model.likelihood(q.mean, "f"), Bernoulli)


def test_a_linear_model_holds_the_exact_posteriors_of_linear_gaussian_data() -> None:
    # Experts read as likelihood terms, times one prior: representable for the pair, and for one
    # modality with an absent substitute.
    exact, (x1, x2) = linear_gaussian()
    modalities = tuple(
        Modality(name, x.shape[1], NONE, NONE, "gaussian", scale=s)
        for name, x, s in zip(("a", "b"), (x1, x2), exact.scales, strict=True)
    )
    model = MultimodalVAE(ModelConfig(modalities, 3, "product_own")).double()
    with torch.no_grad():
        for i, name in enumerate(("a", "b")):
            w, s = exact.weights[i], exact.scales[i]
            precision = w.square().sum(0) / s**2
            head = f"posteriors.heads.{name}->{name}.linear"
            weight, bias = (model.get_parameter(f"{head}.{part}") for part in ("weight", "bias"))
            weight.zero_()
            weight[:3] = (w / s**2 / precision).T
            bias[:3] = 0.0
            bias[3:] = -precision.log()
            model.get_parameter(f"decoders.{name}.output.weight").copy_(w)
            model.get_parameter(f"decoders.{name}.output.bias").zero_()
    x = {"a": x1, "b": x2}
    for given, observed in (
        (["a"], [(x1, 0)]),
        (["b"], [(x2, 1)]),
        (["a", "b"], [(x1, 0), (x2, 1)]),
    ):
        q, p = gaussian(model, x, given), exact.posterior(*observed)
        torch.testing.assert_close(q.mean, p.mean, atol=1e-9, rtol=0)
        torch.testing.assert_close(q.logvar, p.logvar, atol=1e-9, rtol=0)


def test_config_survives_json() -> None:
    config = small_model("joint", share_body=True, joint_hidden=9).config
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_latents": 3}, "unknown key 'n_latents'.*'n_latent'"),
        ({"posterior": "pyramid"}, "posterior: found 'pyramid', wanted one of product"),
        ({"n_latent": "3"}, "n_latent: found '3', wanted a whole number"),
        ({"modalities": [{"name": "a"}]}, r"modalities\[0\]: key 'n_features' is missing"),
        ({"modalities": []}, "distinct"),
        ({"n_latent": 0}, "n_latent: found 0, wanted 1 or more"),
    ],
)
def test_config_mistakes_are_named(change: dict[str, object], message: str) -> None:
    data = {**small_model().config.to_json(), **change}
    with pytest.raises(ConfigError, match=message):
        ModelConfig.from_json(data)


def test_a_shared_body_cannot_be_another_in_the_joint_network() -> None:
    config = small_model("joint").config
    modality = replace(config.modalities[0], joint_encoder=NetworkConfig((3,)))
    with pytest.raises(ConfigError, match="share_body"):
        replace(config, modalities=(modality, config.modalities[1]), share_body=True)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a->b"},
        {"n_features": 0},
        {"scale": 0.0},
        {"scale": math.nan},
        {"n_context": -1},
        {"likelihood": "categorical"},
        {"likelihood": "categorical", "n_classes": 5, "n_context": 1},
        {"n_classes": 5},
    ],
)
def test_senseless_modalities_are_refused(options: dict[str, object]) -> None:
    data = {"name": "a", "n_features": 3, "encoder": NONE, "decoder": NONE, **options}
    with pytest.raises(ConfigError, match="modality"):
        Modality(**data)  # type: ignore[arg-type]


def test_wrong_inputs_are_named() -> None:
    model, x = small_model(), small_batch()
    with pytest.raises(ConfigError, match="modality b: found 4 columns, wanted 5"):
        model.encode({"b": x["b"][:, :4]})
    with pytest.raises(ConfigError, match="no modality 'c'; the model has a, b"):
        model.encode({"c": x["a"]})
    with pytest.raises(ConfigError, match="given nothing"):
        gaussian(model, x, [])
    with pytest.raises(ConfigError, match=r"\['b'\]: the batch holds \['a'\]"):
        gaussian(model, {"a": x["a"]}, ["b"])


def test_the_papers_networks_for_spectra_have_their_sizes() -> None:
    # Tables A.8 and A.9: 171.5 M, 176.0 M, 3.83 M and 2.87 M; about 530 M for SVAE.
    wide = NetworkConfig((10000, 5000, 2048), batch_norm=True)
    wide_decoder = NetworkConfig((3000, 5000, 10000), batch_norm=True)
    bits, bits_decoder = NetworkConfig((1024, 1000)), NetworkConfig((500, 1024))
    spectrum = Modality("spectrum", 11000, wide, wide_decoder, "gaussian", sparse=True)
    fingerprint = Modality("fingerprint", 2149, bits, bits_decoder)
    with torch.device("meta"):
        model = MultimodalVAE(ModelConfig((spectrum, fingerprint), 300))
    nets = model.posteriors
    sizes = [
        n_numbers(part)
        for name in ("spectrum", "fingerprint")
        for part in (nets.bodies[f"{name}->{name}"], model.decoders[name])
    ]
    heads = [n_numbers(nets.heads[f"{name}->{name}"]) for name in ("spectrum", "fingerprint")]
    sizes[0] += heads[0]
    sizes[2] += heads[1]
    assert sizes == [171_520_544, 175_965_000, 3_827_200, 2_866_249]
    assert model.n_parameters == 2 * (sizes[0] + sizes[2]) + sizes[1] + sizes[3]


@pytest.mark.parametrize(
    "posterior", ["product", "product_own", "joint", "joint_full", "mixture", "bridge"]
)
def test_batches_encoded_together_have_the_posteriors_of_each_alone(posterior: str) -> None:
    model = small_model(posterior)
    batches = {"pairs": small_batch(5), "a": {"a": small_batch(3, seed=2)["a"]}}
    calls: dict[str, int] = {}
    for key, body in model.posteriors.bodies.items():
        body.register_forward_hook(lambda *_, key=key: calls.update({key: calls.get(key, 0) + 1}))
    together = model.encode_together(batches)
    found = {
        (name, given): together[name].posterior(given)
        for name, given in (("pairs", ("a",)), ("a", ("a",)), ("pairs", ("a", "b")))
    }
    assert max(calls.values()) == 1
    for (name, given), q in found.items():
        alone = model.encode(batches[name]).posterior(given)
        for ours, theirs in zip(q.components, alone.components, strict=True):
            torch.testing.assert_close(ours.mean, theirs.mean)
            torch.testing.assert_close(ours.logvar, theirs.logvar)


def test_batch_normalisation_sees_one_batch_at_a_time() -> None:
    layers = NetworkConfig((7,), batch_norm=True)
    modalities = (Modality("a", 6, layers, layers), Modality("b", 5, layers, layers))
    model = small_model(modalities=modalities)
    pairs, single = small_batch(5), {"a": small_batch(3, seed=2)["a"]}
    found = model.encode_together({"pairs": pairs, "a": single})["pairs"].posterior(["a"])
    torch.testing.assert_close(found.mean, gaussian(model, pairs, ["a"]).mean)
