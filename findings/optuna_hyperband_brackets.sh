#!/usr/bin/env bash
# optuna 5.0.0: HyperbandPruner has a bracket too few for 243 epochs by a factor of 3, and for 1,000 or 1,000,000 by 10.
#
# Guess: with max_resource = factor ** k and min_resource = 1 there are k + 1 brackets, floor(log(max / min, factor)) + 1 as in Hyperband's paper: the last stops no trial early.
# Seen: so it is for all factors from 2 to 10 and powers up to 8 but four: the quotient of two logarithms is a little below the whole number there (log(243, 3) is 4.999...) and is cut.
# The bracket that is missing is the one that stops no trial before its end, and trials are shared among the others: 243 epochs search otherwise than 81 or 729.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet optuna==5.0.0 numpy==2.4.6
cd "$folder"
seen=$(venv/bin/python -W ignore - 2> /dev/null <<'PY'
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


def brackets(factor, power):
    """How many brackets the pruner says it has when a trial first asks."""
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=factor**power, reduction_factor=factor)
    trial = optuna.create_study(pruner=pruner).ask()
    trial.report(0.0, 1)
    trial.should_prune()
    return len(pruner._pruners)


for factor in range(2, 11):
    for power in range(1, 9):
        if (number := brackets(factor, power)) != power + 1:
            print(f"{factor} ** {power}: {number} brackets")
PY
)
echo "$seen"
[ "$seen" = "3 ** 5: 5 brackets
9 ** 5: 5 brackets
10 ** 3: 3 brackets
10 ** 6: 6 brackets" ]
