"""PostgreSQL, the object store and Kafka, as the handlers' ports need them."""
