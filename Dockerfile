# The same set as `make venv`, in an image. Build and run from the repository:
#
#   docker build -t geo_mm .
#   docker run --rm -v "$PWD/work_dirs:/opt/geo_mm/work_dirs" geo_mm make demo
#
# GPU (not tested here): a base image with nvcc of torch's CUDA version, e.g.
#   --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 --build-arg FORCE_CUDA=1
#   --build-arg TORCH_INDEX= --build-arg TORCH_CUDA_ARCH_LIST="8.0;9.0"
# and `docker run --gpus all`. See docs/en/install.md.

ARG BASE=debian:bookworm-slim
FROM ${BASE}

# g++ and headers: mmcv is compiled here. libgl1 and libglib2.0-0: opencv-python.
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates g++ make python3 python3-dev python3-venv libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# Where torch's CPU build comes from; empty for the CUDA build on the default index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG GEO_MM_TORCH=torch==2.13.0
# mmcv's setup.py cannot see a GPU while an image is built and must be told.
ARG FORCE_CUDA=0
ARG TORCH_CUDA_ARCH_LIST=

WORKDIR /opt/geo_mm
COPY . .
RUN PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" PIP_NO_CACHE_DIR=1 \
    GEO_MM_TORCH="${GEO_MM_TORCH}" FORCE_CUDA="${FORCE_CUDA}" \
    TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST}" \
    make venv

ENV PATH=/opt/geo_mm/.venv/bin:$PATH
CMD ["python", "-m", "geo_mm.env"]
