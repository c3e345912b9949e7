#!/usr/bin/env bash
# Sets a node up, the head with the word "head": its environment, handray, the cluster's token.
# Quick the second time.
set -euo pipefail
cd ~/handray

# Ray sets nodes up by SSH, at their addresses in the cluster's network.
ip=$(cut -d' ' -f3 <<< "$SSH_CONNECTION")
interface=$(ip -oneline address | awk -v ip="$ip" '$4 ~ "^" ip "/" {print $2}')
memory=$(awk '/^MemTotal/ {printf "%.0f", 1024 * $2}' /proc/meminfo)

cat > node.env <<END
set -a
. ~/handray/site.env
PATH=$HOME/handray/.venv/bin:\$PATH
HANDRAY_RUNS=$HOME/handray/runs
NODE_IP=$ip
STORE=$((memory * 2 / 5))
NODE_FLAGS="--node-ip-address=$ip --object-store-memory=\$STORE --object-spilling-directory=\$SPILL"
GLOO_SOCKET_IFNAME=$interface
NCCL_SOCKET_IFNAME=$interface
RAY_ADDRESS=auto
RAY_AUTH_MODE=token
RAY_USAGE_STATS_ENABLED=0
RAY_worker_maximum_startup_concurrency=16
NO_ALBUMENTATIONS_UPDATE=1
PYTHONUNBUFFERED=1
set +a
END
[ "${1:-}" != head ] || echo "export MLFLOW_TRACKING_URI=http://$ip:5000" >> node.env
# Every command that Ray sends starts with .bashrc, and jobs have the environment of Ray's start.
grep -qs handray/node.env ~/.bashrc || echo '. ~/handray/node.env' >> ~/.bashrc
. ./node.env

make --silent install
if nvidia-smi > /dev/null 2>&1; then
    # A torch without kernels for this GPU installs, says that CUDA is there, and fails here.
    python -c 'import torch; torch.ones(1).cuda().sum().item()'
fi
[ "${1:-}" != head ] || ray get-auth-token --generate > /dev/null
