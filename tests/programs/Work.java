import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.zip.CRC32;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/** The heap is the virtual machine's own; direct buffers, zlib, threads and the compiler use malloc. */
public final class Work {
    static long run(int seed) throws Exception {
        CRC32 crc = new CRC32();
        List<ByteBuffer> live = new ArrayList<>();
        Map<String, Integer> counts = new HashMap<>();
        long state = seed + 1;
        for (int step = 0; step < 1500; step++) {
            state = state * 6364136223846793005L + 1442695040888963407L;
            int size = (int) ((state >>> 40) % 40000) + 16;
            ByteBuffer buffer = ByteBuffer.allocateDirect(size);
            while (buffer.remaining() >= 8) buffer.putLong(state + buffer.position());
            buffer.flip();
            live.add(buffer);
            counts.merge("key" + (state >>> 55), size, Integer::sum);
            if (live.size() > 40) crc.update(live.remove((int) ((state >>> 33) % 40)));
            if (step % 25 == 0) {
                byte[] input = new byte[size];
                for (int i = 0; i < size; i++) input[i] = (byte) (i * seed + step);
                Deflater deflater = new Deflater();
                deflater.setInput(input);
                deflater.finish();
                byte[] packed = new byte[size + 100];
                int length = deflater.deflate(packed);
                deflater.end();
                Inflater inflater = new Inflater();
                inflater.setInput(packed, 0, length);
                byte[] output = new byte[size];
                if (inflater.inflate(output) != size) throw new IllegalStateException("inflate");
                inflater.end();
                crc.update(output);
            }
        }
        for (ByteBuffer buffer : live) crc.update(buffer);
        long sum = crc.getValue();
        for (Map.Entry<String, Integer> entry : new java.util.TreeMap<>(counts).entrySet())
            sum = sum * 31 + entry.getKey().hashCode() + entry.getValue();
        return sum;
    }

    public static void main(String[] arguments) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(6);
        List<Future<Long>> results = new ArrayList<>();
        for (int i = 0; i < 12; i++) {
            int seed = i;
            Callable<Long> task = () -> run(seed);
            results.add(pool.submit(task));
        }
        for (Future<Long> result : results) System.out.println(result.get());
        pool.shutdown();
    }
}
