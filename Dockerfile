# specvae in a container. CPU by default; for CUDA build with
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 -t specvae:cuda .
# and run with --gpus all. Files are read and written in /data:
#   docker run --rm -v "$PWD:/data" specvae annotate query.mgf --candidates cands.csv -o ranked.csv
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -c constraints.txt . \
    && rm -rf /src/*
ENV SPECVAE_CACHE=/tmp/specvae-cache
# Functions are compiled once, here: otherwise each container would do it, for half a minute.
RUN specvae demo -o /tmp/demo && rm -rf /tmp/demo /tmp/specvae-cache
WORKDIR /data
ENTRYPOINT ["specvae"]
CMD ["--help"]
