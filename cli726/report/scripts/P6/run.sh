# Fine-tunes in two stages: the new layers on stored features, then the whole network. More options may follow:
#   sh run.sh --head mlp:64 --epochs 20
python finetune.py --dataset auto --epochs 10 --l2 0.001 --augment crop "$@"
