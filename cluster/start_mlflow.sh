#!/usr/bin/env bash
# Starts the head's MLflow server, unless it runs; it outlives `ray down`.
set -euo pipefail
cd ~/handray
mkdir -p runs
pgrep -f '/mlflow server' > /dev/null ||
    nohup setsid --fork mlflow server --host "$NODE_IP" --port 5000 --workers 1 \
        --backend-store-uri sqlite:///runs/mlflow.db --artifacts-destination runs/mlartifacts \
        > runs/mlflow.log 2>&1 < /dev/null
