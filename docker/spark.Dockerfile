# The image of the Spark application: `docker build -f docker/spark.Dockerfile -t fireworks-spark:TAG .`
# The official image of Spark, the Kafka connector of the same version with what it needs, and kind/spark/generate.py.
# As an application of its own it runs `python3 /opt/fireworks/generate.py`; Spark's own entry point stays, by which an
# operator starts drivers and executors.
ARG MAVEN=maven:3.9-eclipse-temurin-17
# Its tag has the version of kind/spark/pom.xml. Another base needs Spark in /opt/spark and the user 185.
ARG BASE=apache/spark:4.1.1-scala2.13-java17-python3-ubuntu
# An image with the jars of kind/spark/prepare in /jars, where Maven's own site is out of reach; else they are fetched.
ARG JARS=fetched

FROM ${MAVEN} AS fetched
WORKDIR /build
COPY kind/spark/pom.xml ./
COPY kind/spark/src src
RUN mvn -q -B -Dout=/build && mv /build/jars /jars

FROM ${JARS} AS jars

FROM ${BASE}
LABEL org.opencontainers.image.title=fireworks-spark \
      org.opencontainers.image.description="The source of Fireworks as a Spark Structured Streaming application" \
      org.opencontainers.image.licenses=MIT
USER root
COPY --from=jars /jars/ /opt/spark/jars/
COPY kind/spark/generate.py kind/spark/settings.py kind/spark/topic.py kind/spark/progress.py kind/spark/health.py /opt/fireworks/
# Python finds Spark's own library, whatever the version of py4j in it.
RUN ln -s /opt/spark/python/lib/py4j-*-src.zip /opt/spark/python/lib/py4j.zip
ENV SPARK_HOME=/opt/spark \
    PYTHONPATH=/opt/spark/python:/opt/spark/python/lib/py4j.zip \
    PYTHONDONTWRITEBYTECODE=1
# A base whose connector is of another version fails here, not in the cluster.
RUN cd /opt/spark/jars && v=$(ls spark-sql_2.13-*.jar | sed 's/.*_2.13-//') && test -e "spark-sql-kafka-0-10_2.13-$v" && \
    python3 /opt/fireworks/generate.py --help >/dev/null
USER 185:185
CMD ["python3", "/opt/fireworks/generate.py"]
