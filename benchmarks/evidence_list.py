"""Every result under `results/`: how it is made, how long that takes, what it measures and what was found.

The one description of them: `benchmarks/evidence.py` makes them and writes the table of `benchmarks/README.md`, and
`tests/test_evidence.py` holds README and docs against them. Of a new result this list has an entry.
"""

from dataclasses import dataclass
from enum import StrEnum


class Need(StrEnum):
    """What a machine must have for a result, beside the package and its extras."""

    quiet = "nothing else running"
    gpu = "an NVIDIA GPU"
    amx = "an Intel CPU with AMX"
    amd = "an AMD CPU with AVX512-BF16"
    network = "a network"
    chromium = "Chromium"
    postgres = "PostgreSQL"


@dataclass(frozen=True)
class Result:
    """One result, or several that are made together."""

    name: str
    files: tuple[str, ...]
    """Below the repository, folders with a slash at their ends."""
    commands: tuple[str, ...]
    """For bash in the repository. `{runs}` is a folder for what need not be kept, `{before}` a checkout of the commit `before`."""
    hours: float
    """On two cores."""
    measures: tuple[str, ...]
    """Files and folders of the repository whose changes make it old."""
    found: str = ""
    """What came of it, in Markdown; the commit only where the file itself can't say it."""
    needs: tuple[Need, ...] = ()
    runs: str | None = None
    """The folder of runs that it shares with other results, which need some of the same."""
    before: str | None = None
    """A commit that it is compared with."""
    older: str | None = None
    """Why a result that is older than what it measures still stands."""


CPU_KERNELS = ("kernels/cpu/", "dcnrun/ops/deform_conv2d/", "dcnrun/ops/jit/units.py")
CPU_SAMPLING = ("kernels/cpu/", "dcnrun/ops/deform_sample2d/")
LAYERS = ("dcnrun/models/conv.py", "dcnrun/models/convert.py", "dcnrun/models/backbones.py")
LEARNING = ("dcnrun/training/loop.py", "dcnrun/training/optim.py", "dcnrun/data/transforms.py")
SEGMENTATION = (*LAYERS, *LEARNING, "dcnrun/tasks/segmentation/heads.py", "dcnrun/tasks/segmentation/losses.py")
SHAPES = (
    *SEGMENTATION,
    "dcnrun/data/shapes.py",
    "dcnrun/data/painting.py",
    "conf/experiment/shapes.yaml",
    "conf/experiment/quick.yaml",
)
NUCLEI = (*SEGMENTATION, "conf/experiment/nuclei.yaml", "conf/data/nuclei.yaml")
DETECTION = (
    *LAYERS,
    *LEARNING,
    "dcnrun/tasks/detection/detector.py",
    "dcnrun/tasks/detection/faster_rcnn.py",
    "dcnrun/models/roi_pool.py",
)
SWEEPS = ("dcnrun/sweep/search.py", "dcnrun/sweep/hyperband.py")
LEDGER = ("dcnrun/jobs/ledger.py", "dcnrun/jobs/rows.py")

TORCHMETRICS = "pip install --quiet --no-deps --target {runs}/torchmetrics torchmetrics==1.9.0"
"""What the first state imports beside what is installed for today's."""

GAINS = (
    (
        "warp",
        "data.warp=0,0.15,0.3,0.45",
        1.2,
        "the strength of the non-rigid warp: deformable convolution gains 2.3 to 4.1 points over standard and 3.5 to 6.3 over the better dilated one, "
        "all significant. On an Intel Xeon with AMX, beside other work for some of the time",
    ),
    (
        "layers",
        "conv.layers=1,3,9",
        0.6,
        "the number of layers that are replaced: one gains 1.8 points over standard, three 4.1, nine 5.1, all significant. As `gain_warp`",
    ),
    (
        "images",
        "data.train_images=500,2000,8000",
        0.6,
        "the number of training images: of 500 deformable convolution gains 1.5 points over standard, not significant, of 2,000 4.1 and of 8,000 4.3; over the "
        "better dilated 2.4, 4.6 and 5.4, all significant. As `gain_warp`",
    ),
    (
        "sizes",
        "data.object_scale_range=1,2,4",
        0.9,
        "the range of the objects' sizes, which the gain does not follow: deformable convolution gains 4.0, 4.4 and 4.1 points over standard, where the largest "
        "object is 1, 2 and 4 times as large as the smallest, and 5.5, 6.3 and 4.2 over the better dilated one, all significant. As `gain_warp`",
    ),
    (
        "rotation",
        "data.rotation=0,90,180",
        0.6,
        "the range of the objects' rotations, which the gain does not follow: deformable convolution gains 4.8 points over standard where no object is turned, 3.6 "
        "where each is by up to 90 degrees either way and 4.1 by up to 180, and 6.0, 4.1 and 4.6 over the better dilated one, all significant. As `gain_warp`",
    ),
)
"""What the gain of deformable over standard and over the better dilated convolution may depend on: a part each, most of which need the 20 runs at the defaults.
In bf16, which takes half of the time on a CPU with AMX."""


def keep_varied(name: str) -> tuple[str, str]:
    """The commands that keep what `dcnrun compare --vary` wrote, without the links to pages that are not kept."""
    kept = f"benchmarks/results/{name}"
    return (
        f"mkdir -p {kept} && cp {{runs}}/{name}/vary.{{json,png}} {kept}",
        f"grep -v compare.html {{runs}}/{name}/vary.md > {kept}/vary.md",
    )


RESULTS = (
    Result(
        name="quick",
        files=("benchmarks/results/quick/",),
        commands=(
            "git clone --quiet . {runs}/clone",
            "cd {runs}/clone && time (python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/dcnrun compare experiment=quick "
            "conv=standard,dilated,deformable,modulated conv.dilation=2,4 optim.offset_lr_mult=0.1 seed=0,1,2 --agents 2 --out compared)",
            "mkdir -p benchmarks/results/quick && cp {runs}/clone/compared/compare.{md,json,png} benchmarks/results/quick",
        ),
        hours=0.25,
        measures=(*SHAPES, *CPU_KERNELS),
        found="the README's first command as written, in a fresh clone: 8 min 59 s with the installation, on two cores of an Intel Xeon (12 min 33 s at 35c0fe0 on another machine, a run at a time)",
        needs=(Need.quiet, Need.network),
    ),
    Result(
        name="shapes",
        files=("benchmarks/results/shapes/", "docs/compare-shapes.png"),
        commands=(
            "dcnrun compare experiment=shapes conv=standard,dilated,deformable,modulated conv.dilation=2,4 optim.offset_lr_mult=0.1 "
            "trainer.threads=1 seed=0,1,2,3,4 --agents 2 runs_dir={runs} --out {runs}/shapes",
            "mkdir -p benchmarks/results/shapes && cp {runs}/shapes/compare.{md,json,png} benchmarks/results/shapes",
            "cp {runs}/shapes/compare.png docs/compare-shapes.png",
        ),
        hours=0.9,
        measures=SHAPES,
        found="two runs at a time on a core each; the figure drawn anew, with today's caption, by `python benchmarks/redraw_comparison.py "
        "benchmarks/results/shapes/compare.json docs/compare-shapes.png`",
        needs=(Need.quiet,),
        older="at 93f7bd2 `family_shapes` has the same scores, run by run, for the kinds that both have; deformable layers are rounded otherwise since then",
    ),
    *(
        Result(
            name=f"gain_{name}",
            files=(f"benchmarks/results/gain_{name}/", "docs/gain.png"),
            commands=(
                "dcnrun compare experiment=shapes conv=standard,dilated,deformable conv.dilation=2,4 optim.offset_lr_mult=0.1 trainer.threads=1 "
                f"trainer.precision=bf16 seed=0,1,2,3,4 --vary {varied} --agents 2 --pictures 0 runs_dir={{runs}} --out {{runs}}/gain_{name}",
                *keep_varied(f"gain_{name}"),
                f"python benchmarks/gain_figure.py docs/gain.png benchmarks/results/gain_{{{','.join(each for each, *_ in GAINS)}}}/vary.json",
            ),
            hours=hours,
            measures=SHAPES,
            runs="gain",
            found=found,
        )
        for name, varied, hours, found in GAINS
    ),
    Result(
        name="gain_nuclei",
        files=("benchmarks/results/gain_nuclei/",),
        commands=(
            "mkdir -p {runs}/nuclei/images {runs}/nuclei/masks && cp tests/fixtures/nuclei/images/*/* {runs}/nuclei/images && "
            "cp tests/fixtures/nuclei/masks/*/* {runs}/nuclei/masks",
            "dcnrun compare experiment=nuclei data.root={runs}/nuclei data.train=. data.val_share=0.25 conv=standard,dilated,deformable conv.dilation=2,8 "
            "optim.offset_lr_mult=0.1 trainer.threads=1 trainer.precision=bf16 seed=0,1,2 --vary data.split_seed=0,1,2 --agents 2 --pictures 0 "
            "runs_dir={runs} --out {runs}/gain_nuclei",
            *keep_varied("gain_nuclei"),
        ),
        hours=1.0,
        measures=NUCLEI,
        found="three splits of nuclei, three seeds each; these layers are dilated by 4 as they are, so that dilated by 2 and by 8 stand beside that. Nothing is significant in any split: deformable "
        "convolution lies 0.2 points below the standard network to 0.1 above. Beside other work",
    ),
    Result(
        name="gain_treecrowns",
        files=("benchmarks/results/gain_treecrowns/",),
        commands=(
            "dcnrun compare experiment=treecrowns 'data.train=[VOC2007/trainval,VOC2007/test]' data.val_share=0.25 trainer.steps=1500 trainer.eval_every=500 "
            "conv=standard,dilated,deformable conv.dilation=2 optim.offset_lr_mult=0.1 trainer.threads=1 trainer.precision=bf16 seed=0,1,2 "
            "--vary data.split_seed=0,1,2 --agents 2 --pictures 0 runs_dir={runs} --out {runs}/gain_treecrowns",
            *keep_varied("gain_treecrowns"),
        ),
        hours=4.0,
        measures=DETECTION,
        found="three splits of treecrowns, three seeds each. Nothing is significant in any split: deformable convolution lies 0.5 to 3.1 points of AP50 below the standard network, "
        "with intervals of 7 points to either side and more. On an Intel Xeon with AMX, beside other work for some of the time",
    ),
    Result(
        name="learnt",
        files=("benchmarks/results/learnt/",),
        commands=(
            "python -m benchmarks.learnt_features {runs} {runs}/resnet18.pt",
            "dcnrun compare experiment=shapes model.weights={runs}/resnet18.pt conv=standard,dilated,deformable conv.dilation=2,4 "
            "optim.offset_lr_mult=0.1 trainer.threads=1 trainer.precision=bf16 seed=0,1,2,3,4 --agents 2 runs_dir={runs} --out {runs}/learnt",
            "mkdir -p benchmarks/results/learnt && cp {runs}/learnt/compare.{md,json,png} benchmarks/results/learnt",
        ),
        hours=0.7,
        measures=(*SHAPES, "dcnrun/models/weights.py"),
        found="the runs of `gain_warp` at its 0.3, from learnt features: the network first learns 20,000 rigid shapes for 6,000 steps with standard convolution. "
        "All are better for it, and deformable convolution gains 0.9 points over standard, just significant, where it gains 4.1 from random weights; over dilated by 2 "
        "the difference is as large as there. Beside other work, so the images a second say nothing",
        older="since then one of several networks of a file can be chosen; of a file with one, as here, all is as it was",
    ),
    Result(
        name="first_headline",
        files=("benchmarks/results/first_headline/",),
        commands=(
            TORCHMETRICS,
            "export PYTHONPATH=$PWD/{before}:$PWD/{runs}/torchmetrics && cd {before} && python -m dcnrun compare experiment=shapes conv=standard,dilated,deformable,modulated "
            "conv.dilation=2,4 optim.offset_lr_mult=0.1 trainer.threads=1 seed=0,1,2 data.warp=0.3 --out compared",
            "cp {before}/compared/compare.{md,json,png} benchmarks/results/first_headline",
        ),
        hours=0.8,
        measures=SHAPES,
        found="what deformable convolution gained when it was first measured",
        needs=(Need.network,),
        older="it is about the state in which it was measured",
        before="893e2a1",
    ),
    Result(
        name="headline_steps",
        files=("benchmarks/results/headline_steps.json",),
        commands=(
            TORCHMETRICS,
            "python benchmarks/headline.py steps {runs} benchmarks/results/headline_steps.json {before} {runs}/torchmetrics",
        ),
        hours=0.05,
        measures=("dcnrun/training/optim.py", "dcnrun/models/conv.py"),
        found="[why the headline moved](#why-the-headline-moved): with two changes undone the first steps have the bits of the first measurement",
        needs=(Need.network,),
        before="893e2a1",
    ),
    Result(
        name="headline",
        files=("benchmarks/results/headline.json",),
        commands=("python benchmarks/headline.py gains {runs} benchmarks/results/headline.json {before}",),
        hours=1.3,
        measures=SHAPES,
        found="[why the headline moved](#why-the-headline-moved): ten seeds gain 4.2 points as the code is and 4.3 with both changes undone, so that neither moved it, and each alone was not "
        "trained; 40 runs of 100 to 190 s of a core, of which `embedding_bag` makes the longer ones. On an Intel Xeon, beside other work",
        before="893e2a1",
    ),
    Result(
        name="headline_first",
        files=("benchmarks/results/headline_first.json",),
        commands=(
            TORCHMETRICS,
            "python benchmarks/headline.py first {runs} benchmarks/results/headline_first.json {before} {runs}/torchmetrics",
        ),
        hours=0.25,
        measures=SHAPES,
        found="[why the headline moved](#why-the-headline-moved): on an Intel Xeon the first state gains 2.8 points with the seeds that gained 7.2 on an AMD EPYC, and all that it logs has the bits of "
        "today's code with both changes undone. The six runs, 11 minutes, had been trained by the same commands before",
        needs=(Need.network,),
        before="893e2a1",
        runs="headline",
    ),
    Result(
        name="defaults",
        files=("benchmarks/results/defaults.json",),
        commands=("python benchmarks/defaults.py {runs} benchmarks/results/defaults.json",),
        hours=4.0,
        measures=(*SHAPES, *NUCLEI, *DETECTION),
        found="the defaults beside others on three small sets, three seeds each (on nuclei two of SGD, and one of AdamW at stride 16), each run with its commit",
        older="to be run again",
    ),
    Result(
        name="single_nuclei",
        files=("benchmarks/results/nuclei.json",),
        commands=("python benchmarks/single_runs.py nuclei {runs} benchmarks/results/nuclei.json",),
        hours=0.05,
        measures=NUCLEI,
        found="`dcnrun train experiment=nuclei conv=deformable`",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="offset_lr",
        files=("benchmarks/results/offset_lr.json",),
        commands=("python benchmarks/single_runs.py offset_lr {runs} benchmarks/results/offset_lr.json",),
        hours=0.1,
        measures=SHAPES,
        found="one run each (seed 0, so a symptom and not a ranking) with an offset learning rate of 1 and of 0.1, with the curve of offset sizes",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="single_shapes_boxes",
        files=("benchmarks/results/shapes_boxes.json",),
        commands=("python benchmarks/single_runs.py shapes_boxes {runs} benchmarks/results/shapes_boxes.json",),
        hours=0.35,
        measures=(*DETECTION, "dcnrun/data/shapes.py", "conf/experiment/shapes_boxes.yaml"),
        found="`dcnrun train experiment=shapes_boxes conv=deformable optim.offset_lr_mult=0.1`",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="single_treecrowns",
        files=("benchmarks/results/treecrowns.json",),
        commands=("python benchmarks/single_runs.py treecrowns {runs} benchmarks/results/treecrowns.json",),
        hours=1.2,
        measures=(*DETECTION, "conf/experiment/treecrowns.yaml"),
        found="one run each (seed 0, so a symptom and not a ranking) of 2,500 steps, with standard, dilated and deformable convolution, and the last with deformable RoI pooling",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="family_nuclei",
        files=("benchmarks/results/family_nuclei/",),
        commands=("python benchmarks/family.py nuclei {runs} benchmarks/results runs_dir={runs}",),
        hours=1.5,
        measures=NUCLEI,
        found="the six kinds within 0.4 points of each other (90.2 to 90.6 %), nothing significant over three seeds and four validation images; the images a second were taken beside other work",
        older="to be run again",
    ),
    Result(
        name="family_shapes",
        files=("benchmarks/results/family_shapes/",),
        commands=("python benchmarks/family.py shapes {runs} benchmarks/results runs_dir={runs}",),
        hours=2.0,
        measures=SHAPES,
        found="five seeds (beside other work, which its images a second show): deformable +4.5 [+2.0, +7.1] and modulated +4.7 [+2.7, +6.7] points over the "
        "standard network's 36.9 %, both significant; DCNv4 +1.6, DCNv3 -0.3 and dilated -0.9 are not. One run failed, since its temporary folder was deleted, and was trained again by the same command",
        older="not run again since. The standard network's first losses have the same bits today; those of deformable layers are rounded otherwise since the kernels changed",
    ),
    Result(
        name="family_treecrowns",
        files=("benchmarks/results/family_treecrowns/",),
        commands=("python benchmarks/family.py treecrowns {runs} benchmarks/results runs_dir={runs}",),
        hours=4.0,
        measures=(*DETECTION, "conf/experiment/treecrowns.yaml"),
        found="three seeds of 1,500 steps, AP50 on nine validation images: every kind lies 0.4 to 2.9 points above the standard network's 30.9 % and nothing is "
        "significant (deformable +1.3 [-4.9, +7.4]); the images a second were taken beside other work. At ef52e3d; `python benchmarks/family.py estimate "
        "runs/family-estimate` says how long each takes",
        older="to be run again",
    ),
    Result(
        name="nuclei_unet",
        files=("benchmarks/results/nuclei_unet/",),
        commands=(
            "dcnrun compare data=nuclei trainer=quick optim.schedule=cosine model=smp model.encoder=resnet34 conv.where=decoder "
            "conv=standard,dilated,deformable,modulated conv.dilation=2 optim.offset_lr_mult=0.1 trainer.threads=1 seed=0,1,2 --agents 2 runs_dir={runs} --out {runs}/nuclei_unet",
            "mkdir -p benchmarks/results/nuclei_unet && cp {runs}/nuclei_unet/compare.{md,json,png} benchmarks/results/nuclei_unet",
        ),
        hours=1.0,
        measures=(*LAYERS, *LEARNING, "dcnrun/models/encoders.py"),
        found="three seeds: 92.8 % with standard convolution in the decoder, 92.5 dilated, 92.6 deformable and modulated; nothing is significant. "
        "On an Intel Xeon beside other work, so the images a second say nothing",
        older="since then a line about dilated encoders is said; networks are as they were",
    ),
    Result(
        name="nuclei_instances",
        files=("benchmarks/results/nuclei_instances/",),
        commands=(
            "dcnrun compare experiment=nuclei_instances trainer.steps=500 trainer.eval_every=250 optim.offset_lr_mult=0.1 trainer.threads=1 seed=0,1,2 "
            "conv=standard,dilated,deformable conv.dilation=2 --agents 2 runs_dir={runs} --out {runs}/convolutions",
            "dcnrun compare experiment=nuclei_instances trainer.steps=500 trainer.eval_every=250 optim.offset_lr_mult=0.1 trainer.threads=1 seed=0,1,2 "
            "conv=deformable model.roi_pool=deformable --agents 2 runs_dir={runs} --out {runs}/pooling",
            "cd {runs} && dcnrun compare convolutions/standard-seed? convolutions/dilated-2-seed? convolutions/deformable-seed? pooling/*-seed? --out nuclei_instances",
            "mkdir -p benchmarks/results/nuclei_instances && cp {runs}/nuclei_instances/compare.{md,json,png} benchmarks/results/nuclei_instances",
        ),
        hours=0.8,
        measures=(*DETECTION, "dcnrun/tasks/instances/mask_rcnn.py"),
        found="Mask R-CNN on nuclei, three seeds of 500 steps (a third of the preset's): mask AP 59.2 % standard, 61.2 dilated, 60.4 deformable, 61.4 with deformable RoI pooling too; "
        "nothing is significant, and training had not converged. AP50 is 79 % or more in every run. Beside other work, so the images a second say nothing",
    ),
    Result(
        name="bf16_quick",
        files=("benchmarks/results/bf16_quick/",),
        commands=("python benchmarks/bf16_training.py quick {runs} benchmarks/results runs_dir={runs}",),
        hours=0.7,
        measures=(*SHAPES, *CPU_KERNELS),
        found="modulated deformable convolution trained in bf16 and in fp32, three seeds each, on an AMD EPYC with AVX512-BF16: 22.8 against 21.9 %, not "
        "significant. Beside other work, so the images a second say nothing",
        needs=(Need.amd,),
        older="to be run again",
    ),
    Result(
        name="bf16_nuclei",
        files=("benchmarks/results/bf16_nuclei/",),
        commands=("python benchmarks/bf16_training.py nuclei {runs} benchmarks/results runs_dir={runs}",),
        hours=0.8,
        measures=(*NUCLEI, *CPU_KERNELS),
        found="the same on nuclei: 90.5 against 90.2 %, not significant",
        needs=(Need.amd,),
        older="to be run again",
    ),
    Result(
        name="dcnv4_start",
        files=("benchmarks/results/dcnv4_start.json",),
        commands=("python benchmarks/dcnv4_start.py {runs} benchmarks/results/dcnv4_start.json 300 0 1 2",),
        hours=0.15,
        measures=(*SHAPES, "dcnrun/models/deform_sampling.py"),
        found="after 300 steps on shapes 22.5, 22.5 and 25.4 % from the mean of each window, 23.3, 23.3 and 24.4 % from the published start at zero: no difference over these three seeds",
        older="to be run again",
    ),
    Result(
        name="ops",
        files=("benchmarks/results/ops.json",),
        commands=("dcnrun bench ops --json > {runs}/out.txt", "tail -n 1 {runs}/out.txt > benchmarks/results/ops.json"),
        hours=0.1,
        measures=CPU_KERNELS,
        found="on an AMD EPYC: forward 1.07 to 1.34 (geometric mean 1.17) and forward + backward 0.97 to 1.52 (1.17) times conv2d's; onnxruntime takes 1.37 to 1.90 times as long",
        needs=(Need.quiet, Need.amd),
        older="the kernels changed since, mostly those of sampling; its speeds are to be measured again on a quiet machine",
    ),
    Result(
        name="ops_intel",
        files=("benchmarks/results/ops_intel.json",),
        commands=(
            "dcnrun bench ops --json > {runs}/out.txt",
            "tail -n 1 {runs}/out.txt > benchmarks/results/ops_intel.json",
        ),
        hours=0.1,
        measures=CPU_KERNELS,
        found="the same on an Intel Xeon with AMX: forward 1.10 to 1.40 (geometric mean 1.20) and forward + backward 1.11 to 1.72 (1.30) times conv2d's; "
        "onnxruntime takes 1.42 to 2.61 times as long",
        needs=(Need.quiet, Need.amx),
    ),
    Result(
        name="bf16_units",
        files=("benchmarks/results/bf16_units.json",),
        commands=("python benchmarks/bf16_units.py {before} benchmarks/results/bf16_units.json",),
        hours=0.02,
        measures=CPU_KERNELS,
        found="AMX on an Intel Xeon, beside the last commit without units: the forward is 3.61 times as fast as before, forward + "
        "backward 3.45 times, and they take 1.97 and 1.68 times as long as conv2d in bf16",
        needs=(Need.quiet, Need.amx),
        before="f8fba66",
    ),
    Result(
        name="bf16_units_avx512",
        files=("benchmarks/results/bf16_units_avx512.json",),
        commands=("python benchmarks/bf16_units.py {before} benchmarks/results/bf16_units_avx512.json",),
        hours=0.02,
        measures=CPU_KERNELS,
        found="the same on an AMD EPYC, whose unit is AVX512-BF16: the forward is 1.88 times as fast as before, forward + backward 1.67 times, and they take 1.26 and 1.46 times as long as conv2d in bf16",
        needs=(Need.quiet, Need.amd),
        before="f8fba66",
        older="the kernels changed since, mostly those of sampling; its speeds are to be measured again on a quiet machine",
    ),
    Result(
        name="deform_sample",
        files=("benchmarks/results/deform_sample.json",),
        commands=(
            "python3.12 -m venv {runs}/peers && {runs}/peers/bin/pip install --quiet torch 'deformops>=3,<4'",
            "python benchmarks/deform_sample.py benchmarks/results/deform_sample.json --peers {runs}/peers/bin/python",
        ),
        hours=0.2,
        measures=CPU_SAMPLING,
        found="on an Intel Xeon with AMX, beside deformops 3 (which wants Python 3.12 or 3.13): the forward takes 3.1 to 3.4 times as long as a copy of its bytes; "
        "deformops takes 41 to 64 times, our convolution with a group for each channel 24 to 46 times as long",
        needs=(Need.quiet, Need.amx, Need.network),
        older="the kernels changed since; no such machine was at hand to measure again",
    ),
    Result(
        name="deform_sample_intel",
        files=("benchmarks/results/deform_sample_intel.json",),
        commands=("python benchmarks/deform_sample.py benchmarks/results/deform_sample_intel.json",),
        hours=0.02,
        measures=CPU_SAMPLING,
        found="the same without deformops: the forward takes 2.1 to 2.9 times as long as a copy of its bytes; our convolution with a group for each channel 20 to 34 times as long",
        needs=(Need.quiet, Need.amx),
    ),
    Result(
        name="deform_sample_amd",
        files=("benchmarks/results/deform_sample_amd.json",),
        commands=("python benchmarks/deform_sample.py benchmarks/results/deform_sample_amd.json",),
        hours=0.05,
        measures=CPU_SAMPLING,
        found="the same without deformops on an AMD EPYC: the forward takes 2.5 to 2.6 times as long as a copy of its bytes (3.0 to 3.5 at 1baf5f4); our "
        "convolution with a group for each channel 27 to 42 times as long",
        needs=(Need.quiet, Need.amd),
        older="calls are cheaper since; the kernels are as they were",
    ),
    Result(
        name="host_time",
        files=("benchmarks/results/host_time.json",),
        commands=("python benchmarks/host_time.py {before} benchmarks/results/host_time.json",),
        hours=0.03,
        measures=(
            "dcnrun/ops/common/",
            "dcnrun/ops/deform_conv2d/operator.py",
            "dcnrun/ops/deform_sample2d/operator.py",
        ),
        found="what a call costs beside its kernel, with warm caches and after a kernel has gone through them, beside the last commit that asked for keys and forms in "
        "Python. On an Intel Xeon, a forward for the stand-in driver, warm: convolution 35 to 19 microseconds, sampling 22 to 13, RoI pooling 28 to 14; PyTorch's own "
        "conv2d on the CPU takes 5",
        needs=(Need.quiet,),
        before="ef52e3d",
    ),
    Result(
        name="openmmlab_checkpoints",
        files=("benchmarks/results/openmmlab_checkpoints.json",),
        commands=(
            "pip install --quiet --no-deps --target {runs}/openmmlab mmdet==3.3.0 mmsegmentation==1.2.2 mmpretrain==1.2.0 mmcv-lite==2.1.0 mmengine==0.10.7 addict yapf "
            "termcolor terminaltables six ftfy regex wcwidth",
            "python -m benchmarks.openmmlab_checkpoints {runs}/openmmlab benchmarks/results/openmmlab_checkpoints.json",
        ),
        hours=0.05,
        measures=(
            "dcnrun/models/checkpoint_layouts.py",
            "dcnrun/models/checkpoints.py",
            "dcnrun/models/weights.py",
            "dcnrun/models/conv.py",
            "dcnrun/tasks/segmentation/heads.py",
        ),
        found="networks of ours from the checkpoints of seventeen published configs of mmdetection, mmsegmentation and mmpretrain, beside their own modules",
        needs=(Need.network,),
    ),
    Result(
        name="deployment",
        files=("benchmarks/results/deployment.json", "docs/deployment.md"),
        commands=("python benchmarks/deployment.py benchmarks/results/deployment.json docs/deployment.md",),
        hours=0.15,
        measures=("dcnrun/export/",),
        found="networks of every kind in every runtime (needs g++), and of the modulated one the images a second by turns. The network is narrow (`experiment=quick`), of random weights",
        needs=(Need.quiet,),
        older="since then names of files that say no kind are refused, and images that a file's input would cut; files and networks are as they were",
    ),
    Result(
        name="onnx_sampling",
        files=("benchmarks/results/onnx_sampling.json",),
        commands=("python benchmarks/onnx_sampling.py benchmarks/results/onnx_sampling.json",),
        hours=0.02,
        measures=("dcnrun/export/onnx.py",),
        found="on an Intel Xeon: in onnxruntime, DeformConv with a group for each channel takes 0.41 to 0.72 times as long as the same sampling made of GridSample",
        needs=(Need.quiet,),
    ),
    Result(
        name="ops_cuda",
        files=("benchmarks/results/ops_cuda.json",),
        commands=(
            "dcnrun bench ops --device cuda --json > {runs}/out.txt",
            "tail -n 1 {runs}/out.txt > benchmarks/results/ops_cuda.json",
        ),
        hours=0.3,
        measures=("kernels/cuda/",),
        needs=(Need.quiet, Need.gpu),
    ),
    Result(
        name="cuda_parity",
        files=("benchmarks/results/cuda_parity_sm_90.json",),
        commands=("python -m benchmarks.cuda_parity",),
        hours=0.2,
        measures=("kernels/cuda/",),
        found="named for the GPU's architecture",
        needs=(Need.gpu,),
    ),
    Result(
        name="proof_start",
        files=("benchmarks/results/proof_start.json",),
        commands=("python benchmarks/proof_start.py {before} benchmarks/results/proof_start.json 1",),
        hours=0.05,
        measures=("dcnrun/ops/proof/",),
        found="measured once while other work ran: CPU seconds of the first use of a convolution on a kind of GPU, before its kernels run there. The process of the proof starts in 1.9 s "
        "(3.4 before: torchvision's models and PyTorch's compiler), PyTorch's own import being 1.7 s of it; right answers take 0.4 s, each of three kernels 0.9 s of NVRTC, at once beside it "
        "(one after another before). Estimated for a machine with cores enough: 2.3 s, 6.7 before, and what only a GPU tells: its context, the problems on it, the times",
        before="ef52e3d",
    ),
    Result(
        name="proof_faults",
        files=("benchmarks/results/proof_faults.json",),
        commands=("python -m benchmarks.proof_faults benchmarks/results/proof_faults.json",),
        hours=0.2,
        measures=("kernels/cuda/", "dcnrun/ops/proof/", "tests/ops/cuda_emulation/conftest.py"),
        found="the proof of the CUDA kernels, emulated on the CPU, on 30 faulty copies of them, all caught, and in 200 runs on the kernels as they are, without a false alarm. (On this CPU with AMX 8 of 200 were "
        "false alarms until the stand-in for the GPU multiplied in fp32: PyTorch's products in bf16 let NaN into other rows there, oneDNN's issue 5717)",
    ),
    Result(
        name="training_step",
        files=("benchmarks/results/training_step.json",),
        commands=("python benchmarks/training_step.py deeplab benchmarks/results/training_step.json",),
        hours=0.05,
        measures=CPU_KERNELS,
        found="on an AMD EPYC: 1.11 and 1.12 times the plain network's step channels-last, 1.24 and 1.22 NCHW",
        needs=(Need.quiet, Need.amd),
        older="the kernels changed since, mostly those of sampling; its speeds are to be measured again on a quiet machine",
    ),
    Result(
        name="training_step_intel",
        files=("benchmarks/results/training_step_intel.json",),
        commands=("python benchmarks/training_step.py deeplab benchmarks/results/training_step_intel.json",),
        hours=0.05,
        measures=CPU_KERNELS,
        found="the same on an Intel Xeon with AMX: 1.17 and 1.18 times the plain network's step channels-last, 1.23 and 1.26 times NCHW",
        needs=(Need.quiet, Need.amx),
    ),
    Result(
        name="detection_step",
        files=("benchmarks/results/detection_step.json",),
        commands=("python benchmarks/training_step.py faster_rcnn benchmarks/results/detection_step.json",),
        hours=0.05,
        measures=CPU_KERNELS,
        needs=(Need.quiet,),
    ),
    Result(
        name="unet_step",
        files=("benchmarks/results/unet_step.json",),
        commands=("python benchmarks/training_step.py unet benchmarks/results/unet_step.json",),
        hours=0.05,
        measures=CPU_KERNELS,
        found="on an Intel Xeon with AMX: three deformable layers of the decoder make a U-Net's step 1.25 times as long, modulated ones 1.31 times",
        needs=(Need.quiet, Need.amx),
    ),
    Result(
        name="unet_step_amd",
        files=("benchmarks/results/unet_step_amd.json",),
        commands=("python benchmarks/training_step.py unet benchmarks/results/unet_step_amd.json",),
        hours=0.05,
        measures=CPU_KERNELS,
        found="the same on an AMD EPYC: 1.25 and 1.30 times",
        needs=(Need.quiet, Need.amd),
        older="the kernels changed since, mostly those of sampling; its speeds are to be measured again on a quiet machine",
    ),
    Result(
        name="roi_pool",
        files=("benchmarks/results/roi_pool.json",),
        commands=("python benchmarks/roi_pool.py benchmarks/results/roi_pool.json",),
        hours=0.05,
        measures=("kernels/cpu/deform_roi_pool.cpp", "kernels/cpu/bins.h"),
        needs=(Need.quiet,),
    ),
    Result(
        name="networks",
        files=("benchmarks/results/networks.json",),
        commands=("python benchmarks/networks.py benchmarks/results/networks.json",),
        hours=1.0,
        measures=("dcnrun/models/encoders.py", "dcnrun/models/outline.py", "dcnrun/models/convert.py"),
        found="detectors, every architecture of segmentation_models.pytorch and encoders of thirty families go through all that a run does (a table that was stopped is resumed): all architectures, "
        "the detectors, RetinaNet and U-Net on the 31 encoders (RetinaNet finds fewer than two convolutions to replace in two of them). In one row the export is refused: after two steps "
        "MobileOne's scores are so large that rounding alone is more than the check allows",
        older="since then a line about dilated encoders is said; networks are as they were",
    ),
    Result(
        name="startup",
        files=("benchmarks/results/startup.json",),
        commands=("python benchmarks/startup.py benchmarks/results/startup.json",),
        hours=0.02,
        measures=("dcnrun/cli/", "dcnrun/config/"),
        needs=(Need.quiet,),
    ),
    Result(
        name="shapes_speed",
        files=("benchmarks/results/shapes_speed.json",),
        commands=("python benchmarks/shapes_speed.py benchmarks/results/shapes_speed.json",),
        hours=0.02,
        measures=("dcnrun/data/shapes.py", "dcnrun/data/painting.py", "dcnrun/data/outlines.py"),
        needs=(Need.quiet,),
    ),
    Result(
        name="interval_coverage",
        files=("benchmarks/results/interval_coverage.json",),
        commands=("python benchmarks/interval_coverage.py --out benchmarks/results/interval_coverage.json",),
        hours=0.5,
        measures=("dcnrun/compare/statistics.py", "dcnrun/statistics.py"),
    ),
    Result(
        name="sweep_overhead",
        files=("benchmarks/results/sweep_overhead.json",),
        commands=("python benchmarks/sweep_overhead.py benchmarks/results/sweep_overhead.json",),
        hours=0.1,
        measures=LEDGER,
        needs=(Need.quiet,),
    ),
    Result(
        name="kills",
        files=("benchmarks/results/kills.json",),
        commands=("python -m benchmarks.kills benchmarks/results/kills.json",),
        hours=0.2,
        measures=("dcnrun/training/checkpoint.py", *LEDGER),
        found="200 kills, every state bit-equal",
    ),
    Result(
        name="sweep_kill",
        files=("benchmarks/results/sweep_kill.json",),
        commands=("python benchmarks/sweep_kill.py benchmarks/results/sweep_kill.json",),
        hours=0.25,
        measures=("dcnrun/sweep/agent.py", *LEDGER),
    ),
    Result(
        name="ray_kills",
        files=("benchmarks/results/ray_kills.json",),
        commands=("python -m benchmarks.ray_kills benchmarks/results/ray_kills.json",),
        hours=0.1,
        measures=("dcnrun/jobs/cluster/",),
        found="with Ray 2.60: trials that sleep, on nodes that `ray start` started; whatever else runs",
    ),
    Result(
        name="ray_runs",
        files=("benchmarks/results/ray_runs.json",),
        commands=("python -m benchmarks.ray_runs benchmarks/results/ray_runs.json",),
        hours=0.05,
        measures=("dcnrun/jobs/cluster/",),
        found="the head node killed, a ledger in PostgreSQL, trials of several GPUs and of several processes, a comparison, and the script for SLURM with stand-ins, each on a cluster of its own; whatever else runs",
        needs=(Need.postgres,),
    ),
    Result(
        name="ray_overhead",
        files=("benchmarks/results/ray_overhead.json",),
        commands=("python -m benchmarks.ray_overhead {before} benchmarks/results/ray_overhead.json",),
        hours=0.1,
        measures=("dcnrun/jobs/cluster/", *LEDGER),
        found="on an Intel Xeon: from a free node to the first step a trial takes as long as by itself with either engine (-0.02 s with Ray, -0.04 s with the local one, both within the "
        "spread of 2.7 to 3.0 s); 1,000 pretended trials on 16 workers of two cores: 111 a second, 6.6 times as many as agents on PostgreSQL got through before there was an engine on Ray (17) and 1.6 times "
        "as many as they do now (69); the actor's memory 121 MB after a tenth, 130 MB at the end",
        needs=(Need.quiet, Need.postgres),
        before="7976a1d",
    ),
    Result(
        name="ledger_scale",
        files=("benchmarks/results/ledger_scale.json",),
        commands=("python -m benchmarks.ledger_scale benchmarks/results/ledger_scale.json",),
        hours=0.05,
        measures=(*LEDGER, *SWEEPS),
        found="on an Intel Xeon: a cluster of 1,000 nodes, simulated, beside 1,000 to 100,000 trials",
        needs=(Need.quiet,),
    ),
    Result(
        name="mutations",
        files=("benchmarks/results/mutations.json",),
        commands=("python -m benchmarks.mutations benchmarks/results/mutations.json",),
        hours=0.2,
        measures=("dcnrun/runs.py", "dcnrun/compare/results.py"),
        found="1,200 cases, no traceback, no other number without a word, nothing that hangs",
    ),
    Result(
        name="million_annotations",
        files=("benchmarks/results/million_annotations.json",),
        commands=("python benchmarks/million_annotations.py benchmarks/results/million_annotations.json",),
        hours=0.15,
        measures=("dcnrun/data/coco.py",),
        needs=(Need.quiet,),
    ),
    Result(
        name="visualize_offsets",
        files=("benchmarks/results/visualize_offsets.json",),
        commands=("python benchmarks/visualize_offsets.py benchmarks/results/visualize_offsets.json",),
        hours=0.05,
        measures=("dcnrun/visualize/", "dcnrun/offsets/"),
        needs=(Need.quiet,),
    ),
    Result(
        name="predict",
        files=("benchmarks/results/predict.json",),
        commands=("python -m benchmarks.predict benchmarks/results/predict.json",),
        hours=0.1,
        measures=("dcnrun/predict/",),
        found="on an Intel Xeon: 0.98 of bare inference's images a second, 4 MiB more between the second and the last tenth of 5,000 images, 8000x8000 pixels in tiles in 2.2 GiB; `speed`, `memory` or `tiles` after the file measures one part",
        needs=(Need.quiet,),
    ),
    Result(
        name="offsets_shapes",
        files=("benchmarks/results/offsets_shapes.json", "docs/offsets-shapes.png", "docs/offsets-sizes.png"),
        commands=(
            "python benchmarks/single_runs.py offsets {runs} {runs}/runs.json",
            "dcnrun visualize-offsets {runs}/standard {runs}/deformable val-000100 --out {runs}/pictures",
            "python -c \"import json, pathlib; of = pathlib.Path('{runs}/pictures'); print(json.dumps({run: json.loads((of / run / "
            "'offsets.json').read_text()) for run in ('standard', 'deformable')}, indent=1))\" > benchmarks/results/offsets_shapes.json",
            "cp {runs}/pictures/sizes.png docs/offsets-sizes.png && cp \"$(find {runs}/pictures -path '*deformable*val-000100*points.png')\" docs/offsets-shapes.png",
        ),
        hours=0.2,
        measures=(*SHAPES, "dcnrun/offsets/"),
        found="`offsets.json` of both runs, `points.png` of val-000100 and `sizes.png`",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="offsets_control",
        files=("benchmarks/results/offsets_control.json",),
        commands=(
            "python benchmarks/single_runs.py offsets {runs} {runs}/runs.json",
            "python benchmarks/offsets_control.py {runs}/deformable benchmarks/results/offsets_control.json",
        ),
        hours=1.0,
        measures=(*SHAPES, "dcnrun/offsets/"),
        found="the same run with random and with shuffled offset branches; put together of two runs of the script, one for each kind",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
    Result(
        name="compare_page",
        files=("benchmarks/results/compare_page/",),
        commands=("python -m benchmarks.compare_page benchmarks/results/compare_page",),
        hours=0.02,
        measures=("dcnrun/compare/page.py", "dcnrun/compare/page.js", "dcnrun/pages/"),
        found="how the page of a comparison stands in a browser, 1,280 and 390 pixels wide, light and dark: its top, the images of a comparison of masks, and confusion and images of one of boxes",
        needs=(Need.chromium,),
    ),
    Result(
        name="screenshots",
        files=("benchmarks/results/screenshots/",),
        commands=("python -m benchmarks.screenshots benchmarks/results/screenshots",),
        hours=0.02,
        measures=("dcnrun/visualize/viewer/", "dcnrun/drawing/"),
        found="the page of `visualize-offsets` with zoom and with bins of RoI pooling, 1,280 and 390 pixels wide, light and dark, and in a browser a sheet of `predict` and one of training; offsets and regions on the page are made up",
        older="since then the names of the background stand in another file; pictures are as they were",
        needs=(Need.chromium,),
    ),
    Result(
        name="training_pictures",
        files=("benchmarks/results/training_pictures.json",),
        commands=("python benchmarks/training_pictures.py benchmarks/results/training_pictures.json",),
        hours=0.05,
        measures=("dcnrun/training/pictures.py", "dcnrun/drawing/"),
        found="what the sheets of `trainer.pictures` cost, in CPU time, so that other work matters little",
    ),
    Result(
        name="sweep_search",
        files=("benchmarks/results/sweep_search.json",),
        commands=("python benchmarks/sweep_search.py benchmarks/results/sweep_search.json",),
        hours=0.1,
        measures=SWEEPS,
        needs=(Need.quiet,),
    ),
    Result(
        name="offset_lr_sweep",
        files=("benchmarks/results/offset_lr_sweep.json", "docs/sweep-slice.png"),
        commands=(
            "dcnrun sweep sweeps/offset_lr_bayes.yaml --count 12 --out {runs}/sweep",
            "cp {runs}/sweep/report.json benchmarks/results/offset_lr_sweep.json && cp {runs}/sweep/slice.png docs/sweep-slice.png",
        ),
        hours=0.35,
        measures=(*SHAPES, *SWEEPS),
        found="one run a trial, so that the best settings are no ranking; beside other work for some minutes",
        older="not run again since: a symptom of one seed each, whatever state it is of",
    ),
)
