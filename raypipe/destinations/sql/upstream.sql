-- What those need who read a table of a pipeline, in one transaction. Times come as microseconds.

-- name: writer
-- Who writes a table, how contributions become it, whether it is there yet, and where that pipeline's history starts.
SELECT pipeline, merge, created, epoch_us(start) FROM _raypipe.tables JOIN _raypipe.pipeline USING (pipeline) WHERE output = $table

-- name: outputs
-- All tables that pipelines write.
SELECT output FROM _raypipe.tables ORDER BY output

-- name: live
-- What the table is made of now.
SELECT epoch_us(lo), epoch_us(hi), output_fp, rows FROM _raypipe.live WHERE pipeline = $pipeline AND output = $table ORDER BY lo

-- name: coverage
-- The ranges that are committed to it.
SELECT epoch_us(lo), epoch_us(hi) FROM _raypipe.coverage WHERE pipeline = $pipeline AND output = $table ORDER BY lo
