"""A discrete-event world in virtual time around the product's real deciders, queue and executors.

python -m tests.simulation --list
python -m tests.simulation --seed 7          replay one random run
python -m tests.simulation --scenario NAME   replay one scripted run
"""
