# weft on the CPU: `docker build -t weft .`, then `docker run -p 8000:8000 -v weft-cache:/cache weft [MODEL] [options of weft
# serve]`. docs/install.md explains it.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/weft
ENV PATH=/opt/weft/bin:$PATH PIP_NO_CACHE_DIR=1
# torch's build for CPUs, before weft would take the one with CUDA. A layer of its own: it changes seldom.
RUN pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
WORKDIR /src
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY csrc csrc
COPY weft weft
# Without its kernels weft would install, too; the image is meant to have them.
RUN pip install . && cd / && python -c "import weft._native"

FROM python:3.12-slim
RUN useradd --uid 1000 --create-home weft && mkdir /cache && chown weft:weft /cache
COPY --from=build /opt/weft /opt/weft
ENV PATH=/opt/weft/bin:$PATH HF_HOME=/cache/huggingface WEFT_CACHE_ROOT=/cache/weft
USER weft
WORKDIR /home/weft
VOLUME /cache
EXPOSE 8000
# A model may take minutes to load; failures in that time do not count.
HEALTHCHECK --interval=15s --timeout=10s --start-period=10m --retries=3 \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=8)"]
ENTRYPOINT ["weft", "serve", "--host", "0.0.0.0", "--port", "8000"]
