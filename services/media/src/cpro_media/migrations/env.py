from cpro_platform.migrations import run_environment

run_environment()
