"""Orders are averaged and large label sets are asked in two levels."""

import json
import math
import re

import numpy as np
import pytest

from students.errors import BadTask
from students.label.inputs import make_inputs
from students.label.labelling import label_inputs
from students.task import load_task
from students.teachers import make_teacher
from students.teachers.bounds import calls_per_text, usage_bound
from students.teachers.questions import first_questions, label_groups, order_of

# The 77 intents of Banking77 (Casanueva et al. 2020, CC BY 4.0).
BANKING = tuple(
    re.findall(
        r"\S+",
        """
    Refund_not_showing_up activate_my_card age_limit apple_pay_or_google_pay atm_support
    automatic_top_up balance_not_updated_after_bank_transfer
    balance_not_updated_after_cheque_or_cash_deposit beneficiary_not_allowed cancel_transfer
    card_about_to_expire card_acceptance card_arrival card_delivery_estimate card_linking
    card_not_working card_payment_fee_charged card_payment_not_recognised
    card_payment_wrong_exchange_rate card_swallowed cash_withdrawal_charge
    cash_withdrawal_not_recognised change_pin compromised_card contactless_not_working
    country_support declined_card_payment declined_cash_withdrawal declined_transfer
    direct_debit_payment_not_recognised disposable_card_limits edit_personal_details
    exchange_charge exchange_rate exchange_via_app extra_charge_on_statement failed_transfer
    fiat_currency_support get_disposable_virtual_card get_physical_card getting_spare_card
    getting_virtual_card lost_or_stolen_card lost_or_stolen_phone order_physical_card
    passcode_forgotten pending_card_payment pending_cash_withdrawal pending_top_up
    pending_transfer pin_blocked receiving_money request_refund reverted_card_payment?
    supported_cards_and_currencies terminate_account top_up_by_bank_transfer_charge
    top_up_by_card_charge top_up_by_cash_or_cheque top_up_failed top_up_limits top_up_reverted
    topping_up_by_card transaction_charged_twice transfer_fee_charged transfer_into_account
    transfer_not_received_by_recipient transfer_timing unable_to_verify_identity
    verify_my_identity verify_source_of_funds verify_top_up virtual_card_not_working
    visa_or_mastercard why_verify_identity wrong_amount_of_cash_received
    wrong_exchange_rate_for_cash_withdrawal
    """,
    )
)
LISTING = {"system": "Choose.\n{labels}", "user": "Text: {text}"}


def _reply(probabilities):
    """A chat completion whose first token has these probabilities, most probable 20 listed."""
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])[:20]
    top = [{"token": t, "logprob": math.log(p) if p > 0 else -9999.0} for t, p in ranked]
    choice = {
        "message": {"content": ranked[0][0]},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        "finish_reason": "length",
    }
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 1}}


def _model(truth, words, first_bonus=0.0):
    """A server that knows p(word) and answers lettered or plain option lists faithfully.

    `first_bonus` is added to whatever stands first: the bias that averaging must cancel.
    """

    def answer(path, body):
        listing = body["messages"][0]["content"]
        lettered = re.findall(r"^([A-Z]): (.*)$", listing, re.M)
        plain = re.findall(r"^- (.*)$", listing, re.M)
        options = lettered or [(word, word) for word in plain]
        p = {}
        for i, (token, shown) in enumerate(options):
            p[token] = sum(truth[words.index(w)] for w in shown.split("; "))
            p[token] += first_bonus * (i == 0)
        total = sum(p.values()) or 1.0
        share = 0.97
        return _reply({**{t: share * q / total for t, q in p.items()}, "Sure": 1 - share})

    return answer


def test_groups_cover_every_label_once():
    """Up to 20 labels are one question; 77 are about nine groups of about nine."""
    from students.task import Task

    def task(k):
        return Task.model_validate(
            {
                "name": "t",
                "labels": [f"l{i}" for i in range(k)],
                "teacher": {
                    "base_url": "http://h",
                    "model": "m",
                    "answer_with": "letter",
                    "prompt": LISTING,
                    "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
                },
                "inputs": {"path": "x.csv"},
            }
        )

    assert label_groups(task(20)) == [(i,) for i in range(20)]
    for k in (21, 77, 150, 400):
        groups = label_groups(task(k))
        assert [i for group in groups for i in group] == list(range(k))
        assert max(len(groups), *map(len, groups)) <= 20
    assert calls_per_text(task(20)) == 1
    assert calls_per_text(task(77)) == 4


async def test_both_orders_are_averaged_for_two_labels(server, make_task):
    """Trap: option-order bias. A teacher that favours the first option is undone by averaging."""
    truth = [0.5, 0.5]
    server.answer = _model(truth, ["calm", "urgent"], first_bonus=0.5)
    task = make_task(server.base_url, prompt=LISTING)
    assert order_of(task) == (False, True)
    teacher = make_teacher(task)
    (reply,) = await teacher.label(["x"])
    await teacher.aclose()
    assert reply.distribution.probabilities == pytest.approx((0.485, 0.485))
    assert reply.distribution.other == pytest.approx(0.03)
    assert reply.usage.requests == 2
    assert len(json.loads(reply.raw)) == 2
    listings = {body["messages"][0]["content"] for _, body in server.asked}
    assert listings == {"Choose.\n- calm\n- urgent", "Choose.\n- urgent\n- calm"}


async def test_two_levels_in_both_orders_ask_nothing_twice(server, make_task):
    """Only the first level was reversed: the second was asked twice, the same, and paid twice."""
    labels = [f"label {i}" for i in range(40)]
    truth = [0.9 if i == 17 else 0.1 / 39 for i in range(40)]
    server.answer = _model(truth, labels)
    task = make_task(server.base_url, labels=labels, prompt=LISTING, answer_with="letter",
                     option_orders="both")  # fmt: skip
    teacher = make_teacher(task)
    (reply,) = await teacher.label(["x"])
    await teacher.aclose()
    assert reply.distribution.label == 17
    listings = [body["messages"][0]["content"] for _, body in server.asked]
    assert len(set(listings)) == len(listings) >= 4


def test_one_order_where_the_prompt_lists_nothing_or_the_task_says_so(make_task):
    """Without {labels} there is no order; `one` switches it off and `both` on for more labels."""
    assert order_of(make_task()) == (False,)
    assert order_of(make_task(prompt=LISTING, option_orders="one")) == (False,)
    three = ("a", "b", "c")
    assert order_of(make_task(labels=three, prompt=LISTING)) == (False,)
    assert order_of(make_task(labels=three, prompt=LISTING, option_orders="both")) == (False, True)


@pytest.mark.parametrize("seed", range(3))
async def test_77_labels_are_read_in_two_levels(server, make_task, seed):
    """p(label) = p(group) · p(label | group): a peaked truth over 77 labels is read back."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet(np.full(77, 0.02))
    server.answer = _model(truth.tolist(), list(BANKING))
    task = make_task(
        server.base_url, labels=BANKING, answer_with="letter", prompt=LISTING, option_orders="one"
    )
    teacher = make_teacher(task)
    await teacher.check()
    (reply,) = await teacher.label(["x"])
    await teacher.aclose()
    d = reply.distribution
    assert sum(d.probabilities) + d.other == pytest.approx(1.0)
    assert d.argmax == int(truth.argmax())
    assert reply.wording == BANKING[int(truth.argmax())]
    if not d.truncated:
        assert np.abs(np.array(d.probabilities) - truth).max() < 0.08
    most = usage_bound(task)(["x"])
    assert reply.usage.requests <= most.requests
    assert len(server.asked) <= 2 * calls_per_text(task)


async def test_flat_truth_over_77_labels_is_flagged(server, make_task):
    """When many groups are likely, not all are read; the answer says that it is bounded."""
    server.answer = _model([1 / 77] * 77, list(BANKING))
    task = make_task(server.base_url, labels=BANKING, answer_with="letter", prompt=LISTING)
    teacher = make_teacher(task)
    (reply,) = await teacher.label(["x"])
    await teacher.aclose()
    assert reply.distribution.truncated
    assert reply.usage.requests == 4
    assert sum(reply.distribution.probabilities) + reply.distribution.other == pytest.approx(1.0)


async def test_77_labels_are_labelled_end_to_end(server, make_task, tmp_path):
    """Through labelling, every text gets its own label of the 77, at a known price."""
    truth = {f"text {i}": i for i in range(77)}

    def answer(path, body):
        text = body["messages"][1]["content"].removeprefix("Text: ")
        p = [0.001] * 77
        p[truth[text]] = 1.0
        return _model(p, list(BANKING))(path, body)

    server.answer = answer
    task = make_task(server.base_url, labels=BANKING, answer_with="letter", prompt=LISTING)
    teacher = make_teacher(task)
    labelling = await label_inputs(
        make_inputs(list(truth)), teacher, task, tmp_path / "replies.sqlite", repeats=20
    )
    await teacher.aclose()
    assert labelling.labelled.teacher.tolist() == list(range(77))
    assert labelling.self_agreement.agreed == labelling.self_agreement.n == 20
    assert labelling.usage.requests == len(server.asked)


async def test_the_bill_of_a_half_failed_answer_is_known(server, make_task):
    """If the second level fails, the error carries the bill of the first."""
    from aiohttp import web

    from students.errors import TeacherThrottled

    model = _model([1.0] + [0.0] * 76, list(BANKING))

    def answer(path, body):
        if len(server.asked) > 1:
            return web.Response(status=429)
        return model(path, body)

    server.answer = answer
    task = make_task(server.base_url, labels=BANKING, answer_with="letter", prompt=LISTING)
    teacher = make_teacher(task)
    with pytest.raises(TeacherThrottled) as caught:
        await teacher.label(["x"])
    await teacher.aclose()
    assert caught.value.usage.input_tokens == 100


def test_the_task_file_refuses_what_cannot_work(tmp_path):
    """Letters without a list, more labels than two levels hold, modes without an address."""
    base = "name: t\nlabels: {labels}\ninputs: {{path: x.csv}}\nteacher:\n  model: m\n"
    base += "  price: {{usd_per_mtok_input: 1, usd_per_mtok_output: 1}}\n{rest}"
    path = tmp_path / "task.yaml"
    cases = [
        (
            "  base_url: http://h\n  answer_with: letter\n",
            ["a", "b"],
            "needs {labels} in the prompt",
        ),
        ("  mode: local\n", ["a", "b"], "mode local needs model_path"),
        ("  mode: chat\n", ["a", "b"], "mode chat needs base_url"),
        (
            "  base_url: http://h\n  answer_with: letter\n  prompt: {user: '{labels} {text}'}\n",
            [f"l{i}" for i in range(401)],
            "more than two levels",
        ),
    ]
    for rest, labels, says in cases:
        path.write_text(base.format(labels=json.dumps(labels), rest=rest))
        with pytest.raises(BadTask, match=re.escape(says)):
            load_task(path)


def test_descriptions_are_listed_and_cannot_smuggle_the_text_mark(make_task):
    """{labels} shows words and descriptions; a description with {text} in it stays harmless."""
    task = make_task(prompt=LISTING)
    task = task.model_copy(update={"labels": {"calm": "says {text}", "urgent": ""}})
    (asked, _) = first_questions(task, order_of(task))
    assert asked.prompt.system == "Choose.\n- calm - says { text }\n- urgent"
    assert task.prompt == asked.prompt


def test_yaml_dates_and_numbers_are_the_words_they_are_written_as(tmp_path):
    """A date or number is a fine revision or header, an unquoted yes a fine label."""
    path = tmp_path / "task.yaml"
    text = (
        "name: t\nlabels: [{labels}]\ninputs: {{path: x.csv}}\nteacher:\n  model: m\n"
        "  base_url: http://h\n  revision: {revision}\n  price: {{model: 'openai:gpt-4o'}}\n"
        "  headers: {{anthropic-version: 2023-06-01, n: 7}}\n  extra_body: {{temperature: null}}\n"
    )
    for revision in ("2026-11-01", "7", "abc"):
        path.write_text(text.format(labels="a, b", revision=revision))
        assert load_task(path).teacher.revision == revision
    path.write_text(text.format(labels="yes, no", revision=1))
    task = load_task(path)
    assert task.labels == ["yes", "no"]
    assert task.teacher.headers == {"anthropic-version": "2023-06-01", "n": "7"}
    assert task.teacher.extra_body == {"temperature": None}
