"""The cost command."""

from dataclasses import dataclass

import click

from vit_tickets.pipeline.datasets.left_out import counted
from vit_tickets.pipeline.system.errors import say
from vit_tickets.pipeline.system.fields import COUNT, click_options, option, parsed
from vit_tickets.pipeline.system.stopping import stoppable
from vit_tickets.train.commands.options import device_option, yield_while_waiting


@dataclass(frozen=True, kw_only=True)
class CostOptions:
    """The options of `cost`. Each field is documented by the help of its option."""

    batch_size: int = option("Images that are classified together.", default=64, type=COUNT, show_default=True)
    rounds: int = option("How often each network has its turn.", default=15, type=COUNT, show_default=True)
    precision: str | None = option(
        "Of weights and images.  [default: fp32 on the CPU, bf16 on a GPU]",
        default=None,
        choices=("fp32", "bf16", "fp16"),
    )


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click_options(CostOptions)
@device_option
def cost(runs: tuple[str, ...], device: str, **values: object) -> None:
    """What classifying an image costs with the finished runs RUNS: parameters, multiply-adds and time.

    A line for the final network of each run, and one for its shrunk network, if the run removed whole heads and
    neurons; of runs on tickets also on the k patches that they keep, of runs on path learned on those that their
    scorer chooses. `alive` leaves out parameters that are masked, or belong to a head or neuron without output;
    `counted` are the multiply-adds without them, which papers print, `executed` those that the machine makes: it
    multiplies zeros like other numbers. A run with a ticket of `prune --pattern 2:4` has a line more on GPUs with
    sparse tensor cores, which skip the zeros of packed layers.

    The networks take turns, so that only ratios are claimed: `time` is the median, over the rounds, of a network's time
    by that of the first line.

    \b
    vit-tickets cost runs/digits-deit_micro-dense-seed0 runs/digits-deit_micro-rc-s0.75-seed0
    vit-tickets cost runs/imagenet-deit_small-dense-seed0 --batch-size 1 --device cpu
    """
    yield_while_waiting()
    given = parsed(CostOptions, dict(values))
    from vit_tickets.train.commands.checks import check_device, check_finished

    check_device(device)
    for run in runs:
        check_finished(run)
    from vit_tickets.train.accounting import inference
    from vit_tickets.train.runtime.distributed import world

    with stoppable(lambda: "the same command starts anew"), world(device) as here:
        forms = [form for run in runs for form in inference.forms_of(run)]
        precision = given.precision or ("bf16" if here.device.startswith("cuda") else "fp32")
        forms, told = inference.with_packed(forms, here.device, precision)
        for line in told:
            say(line)
        batch = f"{counted(given.batch_size, 'image')} in {precision} on {here.device}"
        lines = f"{len(forms)} lines, which take turns" if len(forms) > 1 else "1 line"
        say(f"{lines}: {counted(given.rounds, 'round')} of {batch}")
        say("multiply-adds: counted without dead weights, executed as the machine multiplies, zeros too")
        timed = inference.take_turns(forms, given.batch_size, given.rounds, here.device, precision)
    for line in inference.table_of(forms, timed):
        click.echo(line)
    for line in inference.gains_of(forms, timed):
        say(line)
